import PostgresFormat

/// Where the WAL of a chunk lies among the object's parts: part sizes are the object's own.
struct WALPartMap: Sendable {
  /// Indices in the directory; consecutive.
  let parts: Range<Int>
  /// The chunk's first byte.
  let startLSN: LSN
  /// Offset after each part.
  private let ends: [UInt64]

  init(_ directory: PartDirectory, _ summary: WALChunkSummary) throws {
    let first = directory.first(type: WALChunkPartType.bytes) ?? 0
    var ends: [UInt64] = []
    var total: UInt64 = 0
    while first + ends.count < directory.count {
      let entry = directory[first + ends.count]
      guard entry.type == WALChunkPartType.bytes else { break }
      total += UInt64(entry.plainLength)
      ends.append(total)
    }
    let others = (first + ends.count..<directory.count).contains {
      directory[$0].type == WALChunkPartType.bytes
    }
    guard total == summary.byteCount, !others else {
      throw HistoryError(
        .damaged, operation: "open", key: directory.key.name,
        detail: "\(total) bytes of WAL for \(summary.startLSN)-\(summary.endLSN)")
    }
    parts = first..<first + ends.count
    startLSN = summary.startLSN
    self.ends = ends
  }

  /// The part that holds a byte, and the WAL that lies in it.
  /// - Parameter lsn: must lie in the chunk.
  func part(holding lsn: LSN) -> (part: Int, range: Range<LSN>) {
    let offset = lsn - startLSN
    var (low, high) = (0, ends.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if ends[middle] > offset { high = middle } else { low = middle + 1 }
    }
    let start = low == 0 ? 0 : ends[low - 1]
    return (parts.lowerBound + low, startLSN + start..<startLSN + ends[low])
  }
}
