import ObjectStorage
import PostgresFormat
import Testing

@testable import History

/// Which chunks become one.
@Suite struct ChunkMergePolicyTests {
  private var policy: ChunkMergePolicy {
    var policy = ChunkMergePolicy()
    (policy.shortBytes, policy.longBytes, policy.sources) = (1600, 51_200, 64)
    return policy
  }

  /// Chunks one after the other, of the given sizes; each begins `seconds` after the one before.
  private func spans(_ sizes: [UInt64], seconds: Int64 = 1) -> [LineContents.Span] {
    var position = LSN(0x100_0000)
    return sizes.enumerated().map { index, size in
      var summary = WALChunkSummary(
        line: lineA, timeline: TimelineID(1), systemIdentifier: 42, startLSN: position,
        endLSN: position + size)
      position = position + size
      summary.earliestTime = PostgresTimestamp(Int64(index) * seconds * 1_000_000)
      summary.latestTime = summary.earliestTime
      let chunk = WALChunkReference(
        number: ObjectNumber(epoch: 1, sequence: UInt64(index)), size: 1, summary: summary)
      return LineContents.Span(chunk: chunk, endLSN: summary.endLSN)
    }
  }

  private func sizes(_ runs: [[WALChunkReference]]) -> [[UInt64]] {
    runs.map { $0.map(\.summary.byteCount) }
  }

  @Test func smallOnesAreFilledUp() {
    let spans = spans([300, 300, 700, 700, 1600, 100, 100])
    #expect(
      sizes(policy.shortRuns(spans) { _ in true }) == [[300, 300, 700], [100, 100]])
    #expect(policy.shortRuns(spans) { _ in false }.isEmpty)
  }

  @Test func longOnesHoldMuchOfAShortTime() {
    let busy = [UInt64](repeating: 1600, count: 70)
    // 32 fill one; what is left is not half of one, and more will follow.
    #expect(policy.longRuns(spans(busy)) { _ in true }.map(\.count) == [32, 32])
    // Twelve a minute: a run of ten minutes holds 121, of which 32 fill one.
    #expect(policy.longRuns(spans(busy, seconds: 5)) { _ in true }.map(\.count) == [32, 32])
    // One a minute: ten are 16,000 bytes, more than an eighth.
    #expect(
      policy.longRuns(spans(busy, seconds: 60)) { _ in true }.map(\.count)
        == [11, 11, 11, 11, 11, 11])
    // One in five minutes: three are no long chunk.
    #expect(policy.longRuns(spans(busy, seconds: 300)) { _ in true }.isEmpty)
  }

  @Test func aLongOneIsNotWrittenAgainForALittle() {
    let spans = spans([25_000, 1600, 1600, 1600])
    #expect(policy.longRuns(spans) { _ in true }.isEmpty)
    #expect(policy.longRuns(self.spans([25_000, 24_000, 1600])) { _ in true }.isEmpty == false)
  }

  @Test func whatATakeOverCutStaysAsItIs() {
    var spans = spans([300, 300, 300, 300])
    spans[1].endLSN = spans[1].startLSN + 10
    #expect(sizes(policy.shortRuns(spans) { _ in true }) == [[300, 300]])
  }

  @Test func noMoreThanSoManyAtOnce() {
    let spans = spans([UInt64](repeating: 10, count: 150))
    #expect(policy.shortRuns(spans) { _ in true }.map(\.count) == [64, 64, 22])
  }
}
