import PostgresFormat

extension LineHistory {
  /// WAL that is read in front of a position to find a record's start: a record is seldom longer.
  private static let window: UInt64 = 64 << 10

  /// The start of a record a little before `lsn`, told by the headers of WAL pages; `nil` where none tells one.
  ///
  /// Parsing a whole chunk to find the last record before a position costs some milliseconds a megabyte.
  /// - Parameter first: where a record starts; nothing before it is looked at.
  func recordStart(near lsn: LSN, notBefore first: LSN) async throws -> LSN? {
    let page = UInt64(PostgresLayout.walBlockSize)
    guard lsn - first > 2 * LineHistory.window else { return nil }
    let from = LSN((lsn.rawValue - LineHistory.window) / page * page)
    var bytes: [UInt8] = []
    for try await run in readWAL(from: from, to: lsn) { bytes += run.bytes }
    return bytes.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: Int(page)).lazy.compactMap { offset in
        LineHistory.firstRecord(
          onPage: UnsafeRawBufferPointer(rebasing: bytes[offset...].prefix(Int(page))),
          at: from + UInt64(offset))
      }.first
    }
  }

  /// Where the first record that begins on a page does.
  private static func firstRecord(onPage page: UnsafeRawBufferPointer, at address: LSN) -> LSN? {
    guard let header = WALPageHeader(page), header.address == address else { return nil }
    let length =
      header.flags.contains(.hasLongHeader)
      ? WALPageHeader.longLength : WALPageHeader.shortLength
    var offset = length
    if header.flags.contains(.startsWithContinuation) {
      let end = UInt64(length) + UInt64(header.remainingLength)
      guard end < UInt64(PostgresLayout.walBlockSize) else { return nil }
      offset = (Int(end) + 7) & ~7
    }
    // Less than a record's length is left where a page ends, or zeros after a segment switch.
    guard offset + 4 <= page.count,
      page.loadUnaligned(fromByteOffset: offset, as: UInt32.self) != 0
    else { return nil }
    return address + UInt64(offset)
  }
}
