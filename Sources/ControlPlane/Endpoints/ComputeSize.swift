import Glibc

/// What a size in compute units (CU) means for PostgreSQL.
enum ComputeSize {
  static let allowed = 0.25...16.0
  static let standard = 0.25
  /// Memory of a unit.
  static let unitMegabytes = 4096

  /// A quarter of the size's memory, as PostgreSQL's documentation advises for a server of its own
  /// ("Resource Consumption"), and no more than a quarter of this machine's.
  static func sharedBuffersMB(_ units: Double, machineMegabytes: Int = machineMegabytes) -> Int {
    min(memoryMB(units) / 4, max(machineMegabytes / 4, 64))
  }

  static func memoryMB(_ units: Double) -> Int {
    let size = min(max(units, allowed.lowerBound), allowed.upperBound)
    return Int((size * Double(unitMegabytes)).rounded())
  }

  static let machineMegabytes =
    Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE))) >> 20
}
