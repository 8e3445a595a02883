import CCRC32C
import PostgresFormat
import TestSupport
import Testing

/// Arbitrary bytes never trap. Each test is one seeded run; change the seed to look further.
@Suite struct FuzzTests {
  /// Reads every part of a record that anyone could read.
  private func exercise(_ record: WALRecordView) -> Int {
    var sum = record.mainData.reduce(0) { $0 &+ Int($1) }
    for block in record.blockReferences {
      sum &+= Int(record.data(of: block).last ?? 0) &+ Int(record.image(of: block).last ?? 0)
      sum &+= Int(block.block) &+ (block.startsPage ? 1 : 0)
    }
    sum &+= Int(record.clearedVisibility.first?.block ?? 0)
    sum &+= Int(truncatingIfNeeded: record.transactionEndTime?.unixMicroseconds ?? 0)
    if case .multiInsert(let rows) = record.heapOperation { sum &+= rows }
    do {
      if case .runningTransactions(let running) = try record.content() {
        sum &+= running.transactions.count
      }
    } catch {
      #expect((error as? FormatError)?.code == .recordContent)
    }
    return sum
  }

  /// Real records with changed bytes and a CRC that is right all the same.
  @Test func changedRecordsWithARightCRCNeverTrap() async throws {
    let sample = try await WALSample.any()
    var originals: [[UInt8]] = []
    var kinds: [UInt16: Int] = [:]
    var reader = sample.reader
    _ = try reader.feed(sample.bytes, at: sample.start) { record in
      let kind = UInt16(record.resourceManager.rawValue) << 8 | UInt16(record.opcode)
      guard record.totalLength < 2000, kinds[kind, default: 0] < 10 else { return }
      kinds[kind, default: 0] += 1
      originals.append(Array(record.bytes))
    }
    #expect(kinds.count > 40)
    var generator = SeededGenerator(seed: 11)
    var outcomes = (whole: 0, refused: 0)
    for round in 0..<150_000 {
      var bytes = originals[round % originals.count]
      for _ in 0...Int.random(in: 0..<4, using: &generator) { change(&bytes, &generator) }
      let format = PostgresMajor.allCases[round % PostgresMajor.allCases.count]
      do {
        _ = try bytes.withUnsafeBytes {
          try WALRecordView.withRecord(
            $0, startLSN: LSN(40), endLSN: LSN(80), format: format, exercise)
        }
        outcomes.whole += 1
      } catch is FormatError {
        outcomes.refused += 1
      }
    }
    #expect(outcomes.whole > 10_000 && outcomes.refused > 10_000)
  }

  /// Changes a byte, the length or the kind, and makes length and CRC right again.
  private func change(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
    switch Int.random(in: 0..<8, using: &generator) {
    case 0: bytes.removeLast(Int.random(in: 0...(bytes.count - 24), using: &generator))
    case 1: bytes += (0..<Int.random(in: 0..<40, using: &generator)).map { UInt8($0) }
    case 2: bytes[16] = UInt8.random(in: 0...255, using: &generator)
    case 3: bytes[17] = UInt8.random(in: 0...25, using: &generator)
    default:
      guard bytes.count > 24 else { return }
      // The headers lie at the beginning, so look there most of the time.
      let last = min(bytes.count, Bool.random(using: &generator) ? 60 : bytes.count)
      bytes[Int.random(in: 24..<last, using: &generator)] = [0, 1, 255, 254, 253, 0x80, 0x7F]
        .randomElement(
          using: &generator)!
    }
    for (index, byte) in withUnsafeBytes(of: UInt32(bytes.count).littleEndian, Array.init)
      .enumerated()
    {
      bytes[index] = byte
    }
    let crc = bytes.withUnsafeBytes {
      exzo_crc32c(exzo_crc32c(0, $0.baseAddress! + 24, $0.count - 24), $0.baseAddress, 20)
    }
    for (index, byte) in withUnsafeBytes(of: crc.littleEndian, Array.init).enumerated() {
      bytes[20 + index] = byte
    }
  }

  /// Real WAL with changed bytes, in random pieces, from the start or from any page.
  @Test func changedWALNeverTraps() async throws {
    let sample = try await WALSample.any()
    var generator = SeededGenerator(seed: 12)
    var sum = 0
    for _ in 0..<1500 {
      let page = Int.random(in: 0..<(sample.bytes.count / 8192 - 4), using: &generator) * 8192
      var bytes = Array(sample.bytes[page..<(page + 3 * 8192)])
      for _ in 0..<Int.random(in: 0..<4, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      sum &+= read(bytes, at: sample.start + UInt64(page), &generator)
    }
    #expect(sum != 0)
  }

  /// Noise that begins with a right page header, and noise alone.
  @Test func noiseNeverTraps() async throws {
    let sample = try await WALSample.any()
    var generator = SeededGenerator(seed: 13)
    var sum = 0
    for round in 0..<20_000 {
      var bytes = (0..<Int.random(in: 0..<200, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
      if round % 2 == 0 { bytes = Array(sample.bytes[..<24]) + bytes }
      let lsn =
        round % 3 == 0
        ? LSN(UInt64.random(in: 0...UInt64.max, using: &generator)).pageStart : sample.start
      sum &+= read(bytes, at: lsn, &generator)
    }
    #expect(sum == 0, "noise was taken for a record")
  }

  private func read(_ bytes: [UInt8], at start: LSN, _ generator: inout SeededGenerator) -> Int {
    var reader =
      Bool.random(using: &generator)
      ? WALStreamReader(format: .v15, startingAtPage: start)
      : WALStreamReader(format: .v15, startingAtRecord: start)
    var sum = 0
    var offset = 0
    while offset < bytes.count {
      let count = min(bytes.count - offset, Int.random(in: 1...9000, using: &generator))
      // Every error is a right answer here; only a trap is wrong.
      let outcome = try? reader.feed(Array(bytes[offset..<(offset + count)]), at: reader.position) {
        sum &+= exercise($0)
      }
      guard outcome == .needsBytes else { break }
      offset += count
    }
    return sum
  }

  @Test func changedControlFilesNeverTrap() async throws {
    let sample = try await WALSample.any()
    var generator = SeededGenerator(seed: 14)
    var accepted = 0
    for round in 0..<30_000 {
      var bytes = sample.controlFile
      if round % 50 == 0 { bytes.removeLast(Int.random(in: 0...8192, using: &generator)) }
      let major = PostgresMajor.allCases[round % PostgresMajor.allCases.count]
      let crc = major.format.controlCRCOffset
      for _ in 0..<3 where bytes.count > 300 {
        bytes[Int.random(in: 0..<300, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      if bytes.count > 300, round % 4 != 0 {
        bytes[8...11] = [0x14, 0x05, 0, 0]
        let sum = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, crc) }
        bytes.replaceSubrange(
          crc..<(crc + 4), with: withUnsafeBytes(of: sum.littleEndian, Array.init))
      }
      guard var file = try? ControlFile(bytes, major: major) else { continue }
      accepted += 1
      file.state = .inProduction
      #expect(file.checkpoint.redo == file.checkpoint.redo && file.parameters == file.parameters)
      #expect(try ControlFile(file.bytes, major: major) == file)
    }
    #expect(accepted > 5000)
  }

  @Test func changedPagesNeverTrapAndNeverPass() async throws {
    let sample = try await WALSample.any()
    var generator = SeededGenerator(seed: 15)
    let pages = sample.relation.count / 8192
    for _ in 0..<3000 {
      let block = Int.random(in: 0..<pages, using: &generator)
      var page = Array(sample.relation[(block * 8192)..<((block + 1) * 8192)])
      let bit = Int.random(in: 0..<(8192 * 8), using: &generator)
      page[bit / 8] ^= 1 << (bit % 8)
      let (verdict, header) = page.withUnsafeBytes {
        (DataChecksum.verify($0, block: UInt32(block)), PageHeader($0))
      }
      #expect(verdict != .valid && verdict != .unused)
      #expect(header != nil)
    }
  }

  @Test func arbitraryNamesAreClassified() {
    var generator = SeededGenerator(seed: 16)
    let words = [
      "base", "global", "pg_tblspc", "5", "16384", "PG_15_202209061", "t3_16384", "_vm", "_fsm",
      ".1",
      "/", "", "pg_xact", "0000", "pgsql_tmp", "99999999999999999999", "pg_multixact", "members",
      "pg_control", "_", "é", "t", "-1", "4294967295", "4294967296",
    ]
    for _ in 0..<100_000 {
      var path = ""
      for _ in 0..<Int.random(in: 0..<7, using: &generator) {
        path += words.randomElement(using: &generator)!
        if Bool.random(using: &generator) { path += "/" }
      }
      if case .relation(let file) = DataFileKind(path: path) {
        #expect(file.path(versionDirectory: "PG_15_202209061") == path, "\(path)")
        #expect(file.firstBlock >= file.segment)
      }
      _ = WALSegment(fileName: path)
      _ = LSN(path)
    }
  }
}
