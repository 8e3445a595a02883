import CCRC32C
import Foundation
import TestSupport
import Testing

@testable import PostgresFormat

/// Page-only records become no-ops in place, and nothing else changes.
@Suite struct TailRewriterTests {
  /// Real WAL up to its first hard record: every record keeps its place, its transaction and its
  /// link, state records keep every byte, page records become no-ops, and no other byte changes.
  @Test(arguments: [1...7, 20...60, 1000...9000, 1_000_000...8_000_000])
  func realRecordsKeepTheirPlaces(_ pieces: ClosedRange<Int>) async throws {
    let sample = try await WALSample.any()
    let original = try Stretch(sample)
    // Single bytes are slow to feed; a part of the log has every kind of border too.
    let part = Int(original.redo - original.start) + 600_000
    let stretch = pieces.upperBound < 10 ? original.prefix(part) : original
    let (rewritten, rewriter) = try stretch.rewrite(pieces, seed: 5)
    #expect(rewriter.fallback == nil)
    #expect(rewriter.lastRecordStart == stretch.records.last?.start)
    #expect(rewriter.counts.total == stretch.records.count)
    #expect(rewriter.counts.pages > 100 && rewriter.counts.state > 10)

    let after = try stretch.with(rewritten)
    #expect(after.records.map(\.start) == stretch.records.map(\.start))
    var expected = stretch.bytes
    #expect(stretch.redo > stretch.start)
    var noops = 0
    for (old, new) in zip(stretch.records, after.records) {
      #expect(new.previous == old.previous && new.xid == old.xid && new.end == old.end)
      guard old.role == .pages || old.role == .truncation else {
        #expect(new.bytes == old.bytes, "\(old.start)")
        continue
      }
      noops += 1
      #expect(new.manager == .xlog && new.info == 0x20 && new.blocks == 0, "\(old.start)")
      stretch.copy(old, from: rewritten, into: &expected)
    }
    #expect(noops == rewriter.counts.pages + rewriter.counts.truncations)
    #expect(rewritten == expected, "a byte outside the rewritten records changed")
  }

  @Test func fromAHardRecordOnNothingIsRewritten() async throws {
    let sample = try await WALSample.any()
    let redo = try #require(try sample.records().first).start
    var bytes = sample.bytes
    var rewriter = TailRewriter(format: sample.major, redo: redo)
    var hard: LSN?
    _ = try bytes.withUnsafeMutableBytes { buffer in
      try rewriter.append(buffer, at: sample.start) { record, role in
        if case .hard(.databaseFileCopy) = role, hard == nil { hard = record.startLSN }
      }
    }
    let fallback = try #require(rewriter.fallback)
    #expect(fallback == TailRewriter.Fallback(reason: .databaseFileCopy, lsn: try #require(hard)))
    let offset = Int(fallback.lsn - sample.start)
    #expect(bytes[offset...] == sample.bytes[offset...])
    #expect(bytes[..<offset] != sample.bytes[..<offset])
  }

  /// Every length at which the form of the chunk header changes, and one of megabytes, at every
  /// kind of border.
  @Test(arguments: [0, 1_008, 8_100, 8_184]) func everyLengthBecomesAValidNoop(
    _ lead: Int
  ) throws {
    var log = SyntheticWAL(start: LSN(3 << 24))
    log.append(manager: .logicalMessage, payload: SyntheticWAL.chunk(lead + 2))
    let lengths = [0, 2, 3, 4, 5, 6, 7, 8, 100, 256, 257, 258, 259, 300, 8_000, 8_192, 20_000]
    for length in lengths { log.append(manager: .generic, payload: SyntheticWAL.chunk(length)) }
    log.append(manager: .generic, payload: SyntheticWAL.chunk(40 << 20))
    log.append(manager: .logicalMessage, payload: SyntheticWAL.chunk(9))
    let stretch = try Stretch(log)
    for pieces in [8...64, 200...300, 100_000...200_000] {
      let part = pieces.lowerBound < 100 ? stretch.prefix(120_000) : stretch
      let (rewritten, rewriter) = try part.rewrite(pieces, seed: UInt64(lead))
      let after = try part.with(rewritten)
      #expect(after.records.map(\.start) == part.records.map(\.start))
      #expect(rewriter.counts.pages == part.records.count { $0.manager == .generic })
      for (old, new) in zip(part.records, after.records) {
        #expect(new.bytes.count == old.bytes.count)
        #expect((new.manager == .xlog) == (old.manager == .generic))
      }
    }
  }

  @Test func zerosWhereWALShouldGoOnAreAnError() throws {
    var log = SyntheticWAL(start: LSN(3 << 24))
    log.append(manager: .generic, payload: SyntheticWAL.chunk(100))
    var bytes = log.bytes + [UInt8](repeating: 0, count: 64)
    var rewriter = TailRewriter(format: .v15, redo: log.firstRecord)
    let error = #expect(throws: FormatError.self) {
      try bytes.withUnsafeMutableBytes { _ = try rewriter.append($0, at: log.start) }
    }
    #expect(error?.code == .gap)
  }
}

/// A stretch of WAL with its records copied out.
private struct Stretch {
  struct Record: Hashable {
    var start: LSN
    var end: LSN
    var previous: LSN
    var xid: UInt32
    var manager: ResourceManager
    var info: UInt8
    var blocks: Int
    var role: RecordRole
    var bytes: [UInt8]
  }

  var major: PostgresMajor
  var bytes: [UInt8]
  var start: LSN
  var redo: LSN
  var records: [Record] = []

  init(_ sample: WALSample) throws {
    major = sample.major
    start = sample.start
    bytes = sample.bytes
    redo = try sample.records()[0].start
    try read()
    // The longest part without a hard record: initdb and the sample itself copy databases.
    let parts = records.split { if case .hard = $0.role { true } else { false } }
    let part = try #require(parts.max { $0.count < $1.count })
    redo = part[part.startIndex].start
    records = Array(part)
    self = prefix(bytes.count)
    #expect(records.count > 5000)
  }

  init(_ log: SyntheticWAL) throws {
    (major, bytes, start, redo) = (.v15, log.bytes, log.start, log.firstRecord)
    try read()
  }

  private mutating func read() throws {
    records = []
    let roles = major.recordRoles
    var reader = WALStreamReader(format: major, startingAtRecord: redo)
    let skipped = Int(redo - start)
    let outcome = try bytes.withUnsafeBytes {
      try reader.feed(UnsafeRawBufferPointer(rebasing: $0[skipped...]), at: redo) { record in
        records.append(
          Record(
            start: record.startLSN, end: record.endLSN, previous: record.previousLSN,
            xid: record.xid, manager: record.resourceManager, info: record.info,
            blocks: record.blockReferences.count, role: roles.role(of: record),
            bytes: Array(record.bytes)))
      }
    }
    #expect(outcome == .needsBytes)
  }

  /// The records that end within the first `count` bytes.
  func prefix(_ count: Int) -> Stretch {
    var part = self
    part.records = records.filter { Int($0.end - start) <= count }
    part.bytes = Array(bytes[..<Int((part.records.last?.end ?? redo) - start)])
    return part
  }

  func with(_ bytes: [UInt8]) throws -> Stretch {
    var other = self
    other.bytes = bytes
    try other.read()
    return other
  }

  /// Rewrites in pieces of random sizes, applying patches to what was handed over before.
  func rewrite(_ sizes: ClosedRange<Int>, seed: UInt64) throws -> ([UInt8], TailRewriter) {
    var random = SeededGenerator(seed: seed)
    var rewriter = TailRewriter(format: major, redo: redo)
    var done: [UInt8] = []
    while done.count < bytes.count {
      let count = min(Int.random(in: sizes, using: &random), bytes.count - done.count)
      var piece = Array(bytes[done.count..<done.count + count])
      let at = start + UInt64(done.count)
      let patches = try piece.withUnsafeMutableBytes { try rewriter.append($0, at: at) }
      for patch in patches {
        let offset = Int(patch.lsn - start)
        #expect(offset + patch.bytes.count <= done.count)
        done.replaceSubrange(offset..<offset + patch.bytes.count, with: patch.bytes)
      }
      done += piece
    }
    return (done, rewriter)
  }

  /// Copies the bytes that belong to a record, page headers left out.
  func copy(_ record: Record, from: [UInt8], into: inout [UInt8]) {
    var position = record.start.rawValue
    var left = record.bytes.count
    while left > 0 {
      if position % 8192 == 0 { position += position % (16 << 20) == 0 ? 40 : 24 }
      let count = min(left, Int(8192 - position % 8192))
      let offset = Int(position - start.rawValue)
      into.replaceSubrange(offset..<offset + count, with: from[offset..<offset + count])
      position += UInt64(count)
      left -= count
    }
  }
}

/// WAL made of records of our own.
private struct SyntheticWAL {
  let start: LSN
  private(set) var bytes: [UInt8] = []
  private var previous = LSN.invalid
  var firstRecord: LSN { start + 40 }

  init(start: LSN) { self.start = start }

  /// Block headers and data: one chunk of main data that fills `count` bytes, itself included.
  static func chunk(_ count: Int) -> [UInt8] {
    if count == 0 { return [] }
    if count == 2 { return [255, 0] }
    if count <= 257 { return [255, UInt8(count - 2)] + (2..<count).map { UInt8($0 & 0xFF) } }
    let length = UInt32(count - 5)
    return [254] + withUnsafeBytes(of: length.littleEndian) { Array($0) }
      + [UInt8](repeating: 0xA5, count: count - 5)
  }

  mutating func append(manager: ResourceManager, payload: [UInt8]) {
    var head = [UInt8](repeating: 0, count: 20)
    let total = UInt32(24 + payload.count)
    head.withUnsafeMutableBytes {
      $0.storeBytes(of: total.littleEndian, toByteOffset: 0, as: UInt32.self)
      $0.storeBytes(of: UInt32(777).littleEndian, toByteOffset: 4, as: UInt32.self)
      $0.storeBytes(of: previous.rawValue.littleEndian, toByteOffset: 8, as: UInt64.self)
      $0.storeBytes(of: manager.rawValue, toByteOffset: 17, as: UInt8.self)
    }
    let crc = exzo_crc32c(exzo_crc32c(0, payload, payload.count), head, 20)
    let record = head + withUnsafeBytes(of: crc.littleEndian) { Array($0) } + payload
    previous = put(record)
    bytes += [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8)
  }

  private mutating func put(_ record: [UInt8]) -> LSN {
    var done = 0
    var first: LSN?
    while done < record.count {
      if bytes.count % 8192 == 0 { pageHeader(remaining: done == 0 ? 0 : record.count - done) }
      if first == nil { first = start + UInt64(bytes.count) }
      let count = min(record.count - done, 8192 - bytes.count % 8192)
      bytes += record[done..<done + count]
      done += count
    }
    return first ?? start
  }

  private mutating func pageHeader(remaining: Int) {
    let address = start.rawValue + UInt64(bytes.count)
    let isLong = address % (16 << 20) == 0
    var header = [UInt8](repeating: 0, count: isLong ? 40 : 24)
    let flags: UInt16 = (remaining > 0 ? 1 : 0) | (isLong ? 2 : 0)
    header.withUnsafeMutableBytes {
      $0.storeBytes(of: UInt16(0xD110).littleEndian, toByteOffset: 0, as: UInt16.self)
      $0.storeBytes(of: flags.littleEndian, toByteOffset: 2, as: UInt16.self)
      $0.storeBytes(of: UInt32(1).littleEndian, toByteOffset: 4, as: UInt32.self)
      $0.storeBytes(of: address.littleEndian, toByteOffset: 8, as: UInt64.self)
      $0.storeBytes(of: UInt32(remaining).littleEndian, toByteOffset: 16, as: UInt32.self)
      if isLong {
        $0.storeBytes(of: UInt32(16 << 20).littleEndian, toByteOffset: 32, as: UInt32.self)
        $0.storeBytes(of: UInt32(8192).littleEndian, toByteOffset: 36, as: UInt32.self)
      }
    }
    bytes += header
  }
}
