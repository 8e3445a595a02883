import CCRC32C
import Foundation
import TestSupport
import Testing

@testable import Volume

/// Decodes the hex examples of docs/formats, so that they stay true.
@Suite struct FormatTests {
  /// Bytes of the first block fenced as `hex` in a document.
  private func example(_ document: String) throws -> [UInt8] {
    let path = #filePath.components(separatedBy: "/Tests/")[0] + "/docs/formats/\(document)"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let fenced = try #require(text.components(separatedBy: "```hex\n").dropFirst().first)
    let hex = fenced.components(separatedBy: "```")[0].filter { $0.isHexDigit }
    return stride(from: 0, to: hex.count, by: 2).compactMap { at in
      let start = hex.index(hex.startIndex, offsetBy: at)
      return UInt8(hex[start..<hex.index(start, offsetBy: 2)], radix: 16)
    }
  }

  static let seed: UInt32 = 0x1234_5678

  /// The log that the document shows: a segment's header and the creation of `base`.
  static func logExample() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64 + 80)
    bytes.withUnsafeMutableBytes { bytes in
      LogSegmentHeader(number: 1, firstSequence: 1, durableSequence: 0)
        .encode(into: .init(rebasing: bytes[..<64]), seed: seed)
      var record = LogRecord(.create, file: FileID(2), argument: 1, second: 2 << 16 | 0o700)
      record.sequence = 1
      record.modified = 1_700_000_000_000_000_000
      let names = VolumeState.encodeNames("base", "")
      names.withUnsafeBytes { names in
        record.encode(into: .init(rebasing: bytes[64..<128]), payload: names, seed: seed)
        UnsafeMutableRawBufferPointer(rebasing: bytes[128..<128 + names.count])
          .copyMemory(from: names)
      }
    }
    return bytes
  }

  static func stateExample() -> VolumeSnapshot {
    let entries = [
      FileTreeEntry(id: .root, parent: .root, name: "", kind: .directory, mode: 0o700),
      FileTreeEntry(
        id: FileID(2), parent: .root, name: "a", kind: .regular, mode: 0o600, size: 8192,
        modified: 1_700_000_000_000_000_000),
    ]
    return VolumeSnapshot(
      epoch: 1, position: LogPosition(segment: 1, offset: 208), sequence: 3, seed: seed,
      tree: FileTreeSnapshot(entries: entries, nextFileID: FileID(3)),
      locals: [FileID(2): LocalBlocks(floor: 4, bits: [1])])
  }

  @Test func pageLogExampleDecodes() throws {
    let bytes = try example("page-log.md")
    #expect(bytes == Self.logExample())
    try bytes.withUnsafeBytes { bytes in
      let header = LogSegmentHeader(decoding: bytes, seed: Self.seed)
      #expect(header == LogSegmentHeader(number: 1, firstSequence: 1, durableSequence: 0))
      let rest = UnsafeRawBufferPointer(rebasing: bytes[64...])
      let record = try #require(LogRecord(decoding: rest, seed: Self.seed))
      #expect(record.kind == .create)
      #expect(record.file == FileID(2))
      #expect(LogRecord(decoding: rest, seed: 1) == nil)
    }
  }

  @Test func volumeStateExampleDecodes() throws {
    let bytes = try example("volume-state.md")
    let expected = Self.stateExample()
    #expect(bytes == expected.encode())
    let found = try VolumeSnapshot(decoding: bytes, path: "state")
    #expect(found.tree.entries == expected.tree.entries)
    #expect(found.locals == expected.locals)
    #expect(found.position == expected.position)
    #expect(found.sequence == 3)
  }

  @Test func anyChangedByteOfARecordIsNoticed() {
    let good = Array(Self.logExample()[64...])
    let length = 64 + 8
    for at in 0..<length {
      var bytes = good
      bytes[at] ^= 1
      #expect(bytes.withUnsafeBytes { LogRecord(decoding: $0, seed: Self.seed) } == nil, "\(at)")
    }
  }

  @Test func stateOfALaterVersionIsRefusedAsThat() {
    var bytes = Self.stateExample().encode()
    bytes[12] = 2
    let sum = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress! + 12, $0.count - 12) }
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: sum, toByteOffset: 8, as: UInt32.self) }
    let error = #expect(throws: VolumeError.self) {
      try VolumeSnapshot(decoding: bytes, path: "state")
    }
    #expect("\(error as Any)".contains("version 2, made by a later version of Exzo"))
  }

  @Test func damagedOrCutStateIsRefusedWithoutTrap() {
    let good = Self.stateExample().encode()
    for at in good.indices {
      var bytes = good
      bytes[at] ^= 0x81
      #expect(throws: VolumeError.self) { try VolumeSnapshot(decoding: bytes, path: "state") }
      #expect(throws: VolumeError.self) {
        try VolumeSnapshot(decoding: Array(good[..<at]), path: "state")
      }
    }
  }
}
