/// Whether a server's copy fits on this machine's disk: it lies there whole until it is stored.
struct CopyRoom {
  /// What stays free beside a copy, for computes and for the WAL that comes meanwhile; bytes.
  static let reserve = 1 << 30

  /// As the server was just looked at.
  let source: SourceDescription

  /// - Parameter place: where the server is.
  /// - Throws: ``ControlPlaneError`` `.sourceRefused` with what it takes and what is free.
  func require(_ place: String) throws {
    guard let free = source.freeBytes, free - Self.reserve < source.bytes else { return }
    throw ControlPlaneError(
      .sourceRefused,
      "copy '\(place)': it takes about \(source.bytes) bytes of this machine's disk until it is stored, and "
        + "\(Self.reserve) stay free beside it; \(free) are free",
      hint: "make room on the disk of the data directory")
  }
}
