import Foundation
import PostgresFormat
import Testing

@testable import PageRedo

/// The layout that docs/formats/redo-exchange.md describes.
struct ExchangeTests {
  @Test func exchangeIsLaidOutAsTheFormatPageShows() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let page = try String(
      contentsOf: root.appendingPathComponent("docs/formats/redo-exchange.md"), encoding: .utf8)
    let example = try #require(page.components(separatedBy: "```").dropFirst().first)
    let bytes = example.split(separator: "\n").flatMap { line in
      line.split(separator: " ").dropFirst().compactMap { UInt8($0, radix: 16) }
    }
    #expect(bytes.count == 128)
    let batch = RedoBatch()
    batch.begin(
      PageTarget(
        locator: RelFileLocator(tablespace: 1663, database: 5, relation: 16_384), fork: .main,
        block: 3), base: nil)
    let slice = RedoSlice(batch: batch, requests: 0..<1, completion: RedoCompletion(slices: 1))
    let exchange = UnsafeMutableRawPointer.allocate(byteCount: 16_384, alignment: 64)
    defer { exchange.deallocate() }
    memset(exchange, 0, 16_384)
    let load = slice.load(from: RedoProgress(request: 0), into: exchange, bytes: 16_384)
    exchange.put(UInt32(30), at: ExchangeFormat.Header.seconds)
    #expect(load.offsets == [64])
    #expect(Array(UnsafeRawBufferPointer(start: exchange, count: 128)) == bytes)
  }
}
