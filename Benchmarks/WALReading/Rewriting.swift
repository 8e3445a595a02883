import PostgresFormat

/// How fast a tail is made of no-ops, in place and in runs as history hands them out; several times,
/// the best and the median rate in bytes a second of processor time.
func measureRewriting(_ bytes: [UInt8], _ start: LSN) throws -> String {
  var redo: LSN?
  var reader = WALStreamReader(format: .v15, startingAtPage: start)
  _ = try bytes.withUnsafeBytes { wal in
    try reader.feed(UnsafeRawBufferPointer(rebasing: wal.prefix(1 << 20)), at: start) {
      redo = redo ?? $0.startLSN
    }
  }
  guard let redo else { return "rewriting: no record in the first megabyte" }
  var rates: [Double] = []
  var counts = TailRewriter.Counts()
  for _ in 0..<7 {
    var copy = bytes
    // The copy is made by the first write, which is not to be measured.
    copy.withUnsafeMutableBytes { $0[0] = $0[0] }
    let before = processorSeconds()
    counts = try copy.withUnsafeMutableBytes { try rewriteOnce($0, start, redo) }
    rates.append(Double(bytes.count) / 1e6 / (processorSeconds() - before))
  }
  rates.sort()
  let (best, median) = (Int(rates[rates.count - 1]), Int(rates[rates.count / 2]))
  return "rewriting: best \(best) MB/s, median \(median) MB/s; records: \(counts.pages) pages, "
    + "\(counts.state) state, \(counts.truncations) truncations, \(counts.hard) hard"
}

private func rewriteOnce(
  _ wal: UnsafeMutableRawBufferPointer, _ start: LSN, _ redo: LSN
) throws -> TailRewriter.Counts {
  // As long as the runs of `LineHistory.readWAL`.
  let run = 256 << 10
  var rewriter = TailRewriter(format: .v15, redo: redo)
  var offset = 0
  while offset < wal.count {
    let count = min(run, wal.count - offset)
    _ = try rewriter.append(
      UnsafeMutableRawBufferPointer(rebasing: wal[offset..<offset + count]),
      at: start + UInt64(offset))
    offset += count
  }
  return rewriter.counts
}
