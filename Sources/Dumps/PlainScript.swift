import Foundation

/// A plain dump as a script that may run within a transaction.
///
/// `pg_dump` writes the contents of large objects between a BEGIN and a COMMIT of their own, which would end
/// the transaction that a restore is (`StartRestoreLOs` in `bin/pg_dump/pg_backup_archiver.c`). Rows may hold the
/// same lines: what lies between `FROM stdin;` and `\.` is never touched.
enum PlainScript {
  private static let copyEnds = Array(" FROM stdin;\n".utf8)
  private static let dataEnd = Array("\\.\n".utf8)
  private static let begin = Array("BEGIN;\n\nSELECT pg_catalog.lo_open(".utf8)
  private static let call = Array("SELECT pg_catalog.lo".utf8)
  private static let commit = Array("COMMIT;\n".utf8)
  private static let beginBytes = 7

  /// Hands over, in order, all bytes but those of the lines that begin and end such a transaction.
  static func withoutTransactions(
    _ bytes: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) throws -> Void
  ) rethrows {
    var kept = 0
    for line in transactionLines(bytes) {
      try take(UnsafeRawBufferPointer(rebasing: bytes[kept..<line.lowerBound]))
      kept = line.upperBound
    }
    try take(UnsafeRawBufferPointer(rebasing: bytes[kept...]))
  }

  private static func transactionLines(_ bytes: UnsafeRawBufferPointer) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var (start, isData) = (0, false)
    /// Where the BEGIN is whose COMMIT has not come yet.
    var began: Range<Int>?
    while start < bytes.count {
      let end = self.end(ofLineAt: start, bytes)
      let line = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      if isData {
        isData = !line.elementsEqual(dataEnd)
      } else if let first = began {
        if line.elementsEqual(commit) { found += [first, start..<end] }
        // Anything but calls and blank lines: it was none.
        if line.count > 1, !line.starts(with: call) { began = nil }
      } else if bytes[start...].starts(with: begin) {
        began = start..<(start + beginBytes)
      } else {
        isData = line.count >= copyEnds.count && line.suffix(copyEnds.count).elementsEqual(copyEnds)
      }
      start = end
    }
    return found
  }

  private static func end(ofLineAt start: Int, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let base = bytes.baseAddress,
      let newline = memchr(base + start, Int32(UInt8(ascii: "\n")), bytes.count - start)
    else { return bytes.count }
    return UnsafeRawPointer(newline) - base + 1
  }
}
