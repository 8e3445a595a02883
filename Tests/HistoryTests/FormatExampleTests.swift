import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

/// The hex examples of docs/formats are what the code writes and reads.
@Suite struct FormatExampleTests {
  /// The bytes of the last code block under `## Example` of a page.
  private func example(_ page: String) throws -> [UInt8] {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("docs/formats/\(page).md")
    let text = try String(contentsOf: path, encoding: .utf8)
    let section = try #require(text.components(separatedBy: "## Example").last)
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
}
