import PostgresFormat

/// A line with its ancestors: the WAL of a line is its parent's up to the branch point, followed by
/// its own.
struct LineChain: Sendable {
  /// The line itself, then its parent, and so on to the root.
  let lines: [LineContents]
  /// All of the chain's WAL, oldest first.
  let pieces: [Piece]

  init(lines: [LineContents]) {
    self.lines = lines
    pieces = lines.indices.reversed().flatMap { index -> [Piece] in
      let limits = LineChain.range(ofLine: index, in: lines)
      return lines[index].spans().compactMap { span in
        let start = max(span.startLSN, limits.lowerBound)
        let end = min(span.endLSN, limits.upperBound)
        return start < end ? Piece(line: index, chunk: span.chunk, range: start..<end) : nil
      }
    }
  }

  var description: LineDescription { lines[0].description }

  /// The end of what the store holds.
  var uploadedLSN: LSN { lines[0].uploadedLSN }

  /// The positions for which a line of the chain is asked: its own WAL up to its child's start.
  static func range(ofLine index: Int, in lines: [LineContents]) -> Range<LSN> {
    let start = lines[index].description.startLSN
    let end = index == 0 ? LSN(.max) : lines[index - 1].description.startLSN
    return start..<max(start, end)
  }

  /// The line whose own WAL holds the byte at `lsn`.
  func line(holding lsn: LSN) -> Int? {
    lines.indices.first { lines[$0].description.startLSN <= lsn }
  }

  /// A run of WAL in one chunk that counts for this chain.
  struct Piece: Sendable {
    /// Index in ``LineChain/lines``.
    var line: Int
    var chunk: WALChunkReference
    var range: Range<LSN>

    /// Whether the chunk's last bytes do not count: then its last records do not, either.
    var isCut: Bool { range.upperBound < chunk.endLSN }
  }

  /// The piece that holds the byte at `lsn`.
  func piece(holding lsn: LSN) -> Piece? {
    var (low, high) = (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].range.upperBound > lsn { high = middle } else { low = middle + 1 }
    }
    return low < pieces.count && pieces[low].range.contains(lsn) ? pieces[low] : nil
  }

  /// The keyframes from which `lsn` can be opened, newest first.
  /// - Parameter withdrawn: see ``LineContents/countingKeyframes(withdrawn:)``.
  func keyframes(at lsn: LSN, withdrawn: Bool = false) -> [Keyframe] {
    lines.indices.flatMap { index -> [Keyframe] in
      let end = index == 0 ? LSN(.max) : lines[index - 1].description.startLSN
      return lines[index].countingKeyframes(withdrawn: withdrawn).reversed().filter {
        $0.consistentLSN <= lsn && $0.consistentLSN <= end
      }
    }
  }

  /// What retention says of a keyframe of the chain; `nil` where it counts.
  func eviction(of keyframe: Keyframe) -> LineEvictions.Keyframe? {
    lines.first { $0.line == keyframe.line }?.evictions.keyframe(keyframe.number)
  }

  /// Gaps of the chain's WAL in a range.
  func gaps(in range: Range<LSN>) -> [WALGap] {
    lines.indices.reversed().flatMap { index -> [WALGap] in
      let limits = LineChain.range(ofLine: index, in: lines).clamped(to: range)
      return limits.isEmpty ? [] : lines[index].gaps(in: limits)
    }
  }
}

extension LineChain {
  /// Whether retention took all of the missing WAL.
  func isEvicted(_ gap: WALGap) -> Bool {
    lines.first { $0.line == gap.line }?.evictions.contains(gap.range) ?? false
  }

  /// WAL of the chain that retention took, below `lsn`, with a transaction that ended later than `time`.
  func evicted(before lsn: LSN, endingAfter time: PostgresTimestamp) -> Range<LSN>? {
    for index in lines.indices {
      let limits = LineChain.range(ofLine: index, in: lines)
      for entry in lines[index].evictions.wal {
        let range = entry.range.clamped(to: limits)
        if !range.isEmpty, range.lowerBound < lsn, entry.latestTime.map({ $0 > time }) ?? false {
          return range
        }
      }
    }
    return nil
  }
}
