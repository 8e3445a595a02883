/// What a size in compute units (CU) means for PostgreSQL.
enum ComputeSize {
  static let allowed = 0.25...16.0
  static let standard = 0.25

  /// 512 MB a unit; the standard size has PostgreSQL's default of 128 MB.
  static func sharedBuffersMB(_ units: Double) -> Int {
    Int((min(max(units, allowed.lowerBound), allowed.upperBound) * 512).rounded())
  }
}
