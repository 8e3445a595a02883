import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

/// The hex examples of docs/formats are what the code writes and reads.
@Suite struct FormatExampleTests {
  /// The bytes of the first code block under the last such heading of a page.
  private func example(_ page: String, under heading: String = "## Example") throws -> [UInt8] {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("docs/formats/\(page).md")
    let text = try String(contentsOf: path, encoding: .utf8)
    let section = try #require(text.components(separatedBy: heading).last)
    let block = section.components(separatedBy: "```")
    try #require(block.count >= 2)
    return block[1].split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
  }

  private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
  }

  @Test func owner() async throws {
    let owner = LineOwner(
      epoch: 2, token: 5, takeoverLSN: LSN(0x100_0000), createdAt: PostgresTimestamp(0))
    let store = MemoryObjectStore()
    try await owner.put(on: lineA, store: store)
    let key = LineKeys(line: lineA).owner(epoch: 2, token: 5)
    let written = try #require(store[key.name])
    let documented = try example("envelope")
    #expect(written == documented, "\(hex(written))")
    store[key.name] = documented
    #expect(try await LineOwner.read(key, store: store) == owner)
  }

  @Test func layerIndex() throws {
    var index = LayerIndex(blocksPerPart: 8)
    index.beginFile(FileID(7), floor: .max)
    for block: UInt32 in 0..<100 { index.append(block: block) }
    index.append(block: 200)
    index.beginFile(FileID(9), floor: 0)
    let documented = try example("layer")
    #expect(index.encoded == documented, "\(hex(index.encoded))")
    let read = try LayerIndex(encoded: documented, key: "example")
    #expect(read.blockCount == 101)
    #expect(read.files == [7, 9] && read.floors == [.max, 0])
    guard case (.present(ordinal: 100), 1) = read.lookUp(BlockAddress(file: FileID(7), block: 200))
    else {
      Issue.record("block 200 is not where the example says")
      return
    }
  }

  @Test func walChunkSummary() throws {
    var summary = WALChunkSummary(
      line: lineA, timeline: TimelineID(1), systemIdentifier: 42, startLSN: LSN(0x100_0000),
      endLSN: LSN(0x100_0100))
    summary.firstRecordStart = LSN(0x100_0000)
    summary.lastRecordEnd = LSN(0x100_0100)
    summary.commits = 1
    summary.earliestTime = PostgresTimestamp(5)
    summary.latestTime = PostgresTimestamp(5)
    var writer = BinaryWriter()
    summary.encode(to: &writer)
    let documented = try example("wal-chunk")
    #expect(writer.bytes == documented, "\(hex(writer.bytes))")
    var reader = BinaryReader(documented)
    #expect(try WALChunkSummary(from: &reader) == summary)
  }

  @Test func blockIndexOfAChunk() throws {
    let base = LSN(0x100_0028)
    let table = RelFileLocator(tablespace: 1663, database: 5, relation: 16384)
    var records = BlockRecords()
    records.beginRecord(at: base)
    records.add(table, .main, block: 3, lsn: base, startsPage: true)
    records.add(table, .main, block: 3, lsn: base + 80, startsPage: false)
    records.add(table, .main, block: 7, lsn: base + 1600, startsPage: false)
    records.add(table, .visibilityMap, block: 0, lsn: base + 1600, startsPage: false)
    records.add(BlockCut(locator: table, forks: .all, mainBlocks: 5, lsn: base + 4000))
    let encoded = records.encoded(base: base)
    let part = try example("wal-chunk", under: "### Part of the index")
    #expect(encoded.parts == [part], "\(encoded.parts.map(hex))")
    let fence = try example("wal-chunk", under: "### Fence")
    #expect(encoded.fence == fence, "\(hex(encoded.fence))")
    let cuts = try example("wal-chunk", under: "### Cuts")
    #expect(encoded.cuts == cuts, "\(hex(encoded.cuts))")
    let decoded = try part.withUnsafeBytes {
      try BlockIndexPart(encoded: $0, units: 1000, key: "example")
    }
    let run = try #require(decoded.runs(of: BlockKey(table, block: 3)).first)
    #expect(decoded.positions(ofRun: run).map { $0.lsn(base: base) } == [base, base + 80])
    #expect(decoded.positions(ofRun: run).map(\.startsPage) == [true, false])
    #expect(decoded.runs(of: BlockKey(table, .visibilityMap, block: 0)).count == 1)
    #expect(try BlockFence(encoded: fence, key: "example").firstKeys == [BlockKey(table, block: 3)])
    let range = base..<base + 8000
    #expect(
      try BlockCut.decode(cuts, records: range, key: "example")
        == [BlockCut(locator: table, forks: .all, mainBlocks: 5, lsn: base + 4000)])
  }
}
