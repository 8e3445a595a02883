import ObjectStorage
import PostgresFormat

/// What has to stay.
struct RetentionNeeds: Sendable {
  var wal: [LineID: LSNRanges] = [:]
  /// Keyframes from which promised moments are opened.
  var keyframes: [LineID: Set<ObjectNumber>] = [:]
  /// Lines whose description stays.
  var living: Set<LineID> = []
  /// Lines on which a compute can run: its volume reads their base, and capture goes on at their end.
  var running: Set<LineID> = []
  /// Lines that are left as they are.
  var untouched: Set<LineID> = []
}

extension RetentionNeeds {
  /// Keyframes and WAL that `chain`'s promised moments need.
  mutating func add(_ keyframe: Keyframe) {
    keyframes[keyframe.line, default: []].insert(keyframe.number)
  }

  /// WAL of a line and its ancestors.
  ///
  /// A record that ends in the range's first chunk may begin in the chunk before: that one stays as well.
  mutating func add(_ range: Range<LSN>, of chain: LineChain) {
    insert(range, of: chain)
    let index = chain.pieces.partitionPoint { $0.range.upperBound <= range.lowerBound }
    guard index < chain.pieces.count, chain.pieces[index].range.lowerBound < range.upperBound
    else { return }
    let piece = chain.pieces[index]
    guard let first = piece.chunk.summary.firstRecordStart, first < piece.range.lowerBound
    else { return }
    insert(first..<piece.range.lowerBound, of: chain)
  }

  private mutating func insert(_ range: Range<LSN>, of chain: LineChain) {
    for index in chain.lines.indices {
      let part = LineChain.range(ofLine: index, in: chain.lines).clamped(to: range)
      if !part.isEmpty { wal[chain.lines[index].line, default: LSNRanges()].insert(part) }
    }
  }
}

extension LineDescription {
  /// The beginning of the segment that holds the byte: whoever opens a moment writes whole segments.
  func segmentStart(_ lsn: LSN) -> LSN {
    LSN(lsn.rawValue - lsn.rawValue % UInt64(max(segmentSize, 1)))
  }
}
