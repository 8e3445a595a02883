import PostgresFormat
import TestSupport
import Testing

@Suite struct WALStreamReaderTests {
  /// The records' places and texts, read in pieces of random sizes.
  private func read(
    _ sample: WALSample, pieces: ClosedRange<Int>, seed: UInt64
  ) throws -> [String] {
    var generator = SeededGenerator(seed: seed)
    var reader = sample.reader
    var found: [String] = []
    var offset = 0
    while offset < sample.bytes.count {
      let end = min(sample.bytes.count, offset + Int.random(in: pieces, using: &generator))
      let outcome = try reader.feed(Array(sample.bytes[offset..<end]), at: reader.position) {
        found.append("\($0.startLSN) \($0.endLSN) \($0)")
      }
      #expect(outcome == .needsBytes)
      offset = end
      #expect(reader.position == sample.start + UInt64(offset))
      #expect(reader.lastRecordEnd.rawValue <= reader.position.rawValue + WALSegment.defaultSize)
    }
    return found
  }

  @Test(arguments: [1...40, 1...9000, 8192...8192, 100_000...200_000])
  func piecesOfAnySizeGiveTheSameRecords(pieces: ClosedRange<Int>) async throws {
    var sample = try await WALSample.any()
    sample.bytes = Array(sample.bytes.prefix(400_000))
    let whole = try read(sample, pieces: sample.bytes.count...sample.bytes.count, seed: 0)
    #expect(whole.count > 300)
    #expect(try read(sample, pieces: pieces, seed: 7) == whole)
  }

  @Test func aSwitchTakesTheRestOfItsSegment() async throws {
    let sample = try await WALSample.any()
    let records = try sample.records()
    let index = try #require(records.firstIndex { $0.content == .segmentSwitch })
    #expect(records[index].end.rawValue % WALSegment.defaultSize == 0)
    #expect(records[index + 1].start == records[index].end + 40)
  }

  @Test func readingStartsAtAnyRecordBoundary() async throws {
    let sample = try await WALSample.any()
    let records = try sample.records()
    for index in stride(from: 1, to: records.count, by: records.count / 20) {
      let start = records[index].start
      let boundary = records[index - 1].end
      var reader = WALStreamReader(
        format: .v15, startingAtRecord: boundary, previous: records[index - 1].start)
      var first: LSN?
      _ = try reader.feed(
        Array(sample.bytes[Int(boundary - sample.start)...].prefix(100_000)), at: boundary
      ) { first = first ?? $0.startLSN }
      #expect(first == start)
    }
  }

  @Test func theFirstRecordAfterAnyPageIsFound() async throws {
    let sample = try await WALSample.any()
    let starts = try sample.records().map(\.start)
    for page in 1..<60 {
      let lsn = sample.start + UInt64(page * 8192)
      var reader = WALStreamReader(format: .v15, startingAtPage: lsn)
      var first: LSN?
      _ = try reader.feed(Array(sample.bytes[(page * 8192)...].prefix(60_000)), at: lsn) {
        first = first ?? $0.startLSN
      }
      #expect(first == starts.first { $0 >= lsn })
    }
  }

  @Test func zerosAreTheEndOfWALAtTheLastRecord() async throws {
    let sample = try await WALSample.any()
    let records = try sample.records()
    for index in stride(from: 5, to: 400, by: 7) {
      let cut = records[index]
      var bytes = Array(sample.bytes[..<Int(cut.end - sample.start)])
      bytes += [UInt8](repeating: 0, count: 30_000)
      var reader = sample.reader
      let outcome = try reader.feed(bytes, at: sample.start) { _ in }
      #expect(reader.lastRecordEnd == cut.end)
      #expect(outcome == .endOfWAL(at: cut.end))
      #expect(try reader.feed([1], at: reader.position) { _ in } == outcome)
    }
  }

  @Test func aRecordCutAtAPageByZerosIsTheEndOfWALWhereItBegan() async throws {
    let sample = try await WALSample.any()
    let records = try sample.records()
    let crossing = try #require(
      records.first { $0.start.pageStart.rawValue + 8192 < $0.end.rawValue })
    var bytes = Array(sample.bytes[..<Int(crossing.start.pageStart - sample.start + 8192)])
    bytes += [UInt8](repeating: 0, count: 8192)
    var reader = sample.reader
    #expect(
      try reader.feed(bytes, at: sample.start) { _ in } == .endOfWAL(at: crossing.start))
  }

  @Test func aGapIsRefusedAndLeavesTheReaderAsItWas() async throws {
    let sample = try await WALSample.any()
    var reader = sample.reader
    _ = try reader.feed(Array(sample.bytes[..<10_000]), at: sample.start) { _ in }
    let before = (reader.position, reader.lastRecordEnd)
    #expect(throws: FormatError.self) {
      try reader.feed([1, 2, 3], at: before.0 + 1) { _ in }
    }
    #expect(before == (reader.position, reader.lastRecordEnd))
    let rest = Array(sample.bytes[10_000..<20_000])
    #expect(try reader.feed(rest, at: before.0) { _ in } == .needsBytes)
  }

  @Test func anErrorOfTheClosureCountsItsRecordAsRead() async throws {
    struct Stop: Error {}
    let sample = try await WALSample.any()
    let records = try sample.records()
    var reader = sample.reader
    var seen: [LSN] = []
    while seen.count < 200 {
      let offset = Int(reader.position - sample.start)
      #expect(throws: Stop.self) {
        try reader.feed(Array(sample.bytes[offset..<(offset + 70_000)]), at: reader.position) {
          seen.append($0.startLSN)
          throw Stop()
        }
      }
    }
    #expect(seen == records.prefix(200).map(\.start))
  }
}

/// One byte changed in one place, and what is said about it.
@Suite struct WALDamageTests {
  private func firstError(
    _ sample: WALSample, reader start: WALStreamReader? = nil, _ change: (inout [UInt8]) -> Void
  ) -> FormatError? {
    var bytes = Array(sample.bytes.prefix(200_000))
    change(&bytes)
    var reader = start ?? sample.reader
    do {
      _ = try reader.feed(bytes, at: sample.start) { _ in }
      return nil
    } catch {
      // The reader stays at its damage.
      #expect(throws: FormatError.self) { try reader.feed([0], at: reader.position) { _ in } }
      return error as? FormatError
    }
  }

  @Test func pageHeaderFieldsAreChecked() async throws {
    let sample = try await WALSample.any()
    let page = 5 * 8192
    let cases: [(Int, FormatError.Code)] = [
      (0, .pageMagic), (3, .pageFlags), (2, .pageFlags), (9, .pageAddress), (14, .pageAddress),
    ]
    for (offset, code) in cases {
      let error = firstError(sample) { $0[page + offset] ^= offset == 2 ? 0x02 : 0x80 }
      #expect(error?.code == code)
      #expect(error?.lsn == sample.start + UInt64(page))
    }
    #expect(firstError(sample) { $0[page + 16] ^= 0x40 }?.code == .remainingLength)
    #expect(firstError(sample) { $0[page + 2] ^= 0x01 }?.code == .continuation)
    #expect(firstError(sample) { $0[page + 4] = 0 }?.code == .pageTimeline)
  }

  @Test func anotherTimelineOrSystemIsRefused() async throws {
    let sample = try await WALSample.any()
    let other = WALStreamReader(
      format: .v15, startingAtPage: sample.start, timeline: TimelineID(2))
    #expect(firstError(sample, reader: other) { _ in }?.code == .pageTimeline)
    let identifier = try ControlFile(sample.controlFile, major: .v15).systemIdentifier
    let boundary = WALSegment(timeline: TimelineID(1), containing: sample.start).endLSN
    let bytes = Array(sample.bytes[Int(boundary - sample.start)...].prefix(8192))
    var right = WALStreamReader(
      format: .v15, startingAtPage: boundary, timeline: TimelineID(1), systemIdentifier: identifier)
    #expect(try right.feed(bytes, at: boundary) { _ in } == .needsBytes)
    var wrong = WALStreamReader(
      format: .v15, startingAtPage: boundary, systemIdentifier: identifier + 1)
    #expect { try wrong.feed(bytes, at: boundary) { _ in } } throws: {
      ($0 as? FormatError)?.code == .systemIdentifier
    }
    var patched = bytes
    try patched.withUnsafeMutableBytes {
      try WALSegment.setSystemIdentifier(identifier + 1, inFirstPage: $0, format: .v15)
    }
    #expect(patched[24] != bytes[24] && patched[32...] == bytes[32...])
    wrong.seek(toPageAt: boundary)
    #expect(try wrong.feed(patched, at: boundary) { _ in } == .needsBytes)
    var sized = WALStreamReader(
      format: .v15, startingAtPage: boundary, segmentSize: 8 << 20)
    #expect { try sized.feed(bytes, at: boundary) { _ in } } throws: {
      ($0 as? FormatError)?.code == .segmentSize
    }
  }

  @Test func recordHeaderFieldsAreChecked() async throws {
    let sample = try await WALSample.any()
    let record = try #require(try sample.records().dropFirst(300).first)
    let at = Int(record.start - sample.start)
    #expect(
      firstError(sample) {
        $0[at] = 9
        $0[at + 1] = 0
      }?.code == .recordLength)
    #expect(firstError(sample) { $0[at + 3] = 0x70 }?.code == .recordLength)
    #expect(firstError(sample) { $0[at + 17] = 77 }?.code == .resourceManager)
    #expect(firstError(sample) { $0[at + 8] ^= 8 }?.code == .previousLink)
    #expect(firstError(sample) { $0[at + 4] ^= 1 }?.code == .recordCRC)
    let error = firstError(sample) { $0[at + 20] ^= 1 }
    #expect(error?.code == .recordCRC && error?.lsn == record.start)
  }

  @Test func everyFlippedBitOfAPageIsNoticed() async throws {
    let sample = try await WALSample.any()
    let good = try sample.records().filter { $0.end <= sample.start + 12 * 8192 }
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<400 {
      let bit = Int.random(in: (5 * 8192 * 8)..<(6 * 8192 * 8), using: &generator)
      var bytes = Array(sample.bytes[..<(12 * 8192)])
      bytes[bit / 8] ^= 1 << (bit % 8)
      var reader = sample.reader
      var texts: [String] = []
      let outcome = try? reader.feed(bytes, at: sample.start) { texts.append($0.description) }
      // Padding between records is covered by nothing; there the records must be the same.
      if outcome == .needsBytes {
        #expect(texts == good.map(\.text))
      } else {
        #expect(texts.count < good.count)
      }
    }
  }
}
