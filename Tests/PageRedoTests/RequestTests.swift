import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import PageRedo

/// What becomes of single requests: refused, cut into parts, far out, empty.
@Suite(.serialized, .heavy, .needsPostgres()) struct RequestTests {
  private func failure(_ body: () throws(PageRedoError) -> Void) -> PageRedoError? {
    do throws(PageRedoError) { try body() } catch { return error }
    return nil
  }

  /// A chain whose first record initialises a heap page.
  private func initialisingRequest() async throws -> PageRedoRequest {
    let history = try await SmallHistory.get()
    return try #require(
      history.request { request in
        request.target.fork == .main && request.records[0].bytes[17] == 10  // heap
          && request.records[0].bytes[16] & 0xF0 == 0x80  // insert into a new page
      })
  }

  @Test func pageWithoutRecordsIsReturnedAsItIs() async throws {
    let history = try await SmallHistory.get()
    var request = history.request(history.targets[0])
    let base = history.expected(request.target)
    request.base = base
    request.records = []
    let made = try withPool { try $0.redo([request]) }
    #expect(made[0].bytes == base)
  }

  @Test func recordsThatThePageHoldsAlreadyChangeNothing() async throws {
    let history = try await SmallHistory.get()
    // A visibility map's bits are cleared whatever its LSN says; a record that brings the whole page
    // takes it back to that moment.
    let targets = history.targets.filter {
      $0.fork == .main && !history.history.chains[$0]!.isRestarted
    }
    #expect(targets.count > 100)
    let batch = RedoBatch()
    for target in targets {
      var request = history.request(target)
      request.base = history.expected(target)
      try batch.append(request)
    }
    try withPool { try $0.redo(batch) }
    for (index, target) in targets.enumerated() {
      #expect(batch.page(of: index).elementsEqual(history.expected(target)), "\(target)")
      #expect(batch.recordCounts(of: index).applied == 0)
    }
  }

  @Test func pageThatNothingInitialisedIsZero() async throws {
    let history = try await SmallHistory.get()
    var request = history.request(history.targets[0])
    request.base = nil
    request.records = []
    let batch = RedoBatch()
    try batch.append(request)
    try withPool { try $0.redo(batch) }
    guard case .zeroPage = batch.outcome(of: 0) else {
      Issue.record("outcome \(batch.outcome(of: 0))")
      return
    }
    #expect(batch.page(of: 0).allSatisfy { $0 == 0 })
  }

  @Test func recordThatNeedsAMissingImageIsRefusedByName() async throws {
    let history = try await SmallHistory.get()
    var request = try #require(
      history.request { $0.base != nil && $0.target.fork == .main && $0.records.count > 1 })
    request.base = nil
    let error = try #require(
      try withPool { pool in failure { () throws(PageRedoError) in _ = try pool.redo([request]) } })
    #expect(error.code == .refused)
    #expect(error.target == request.target)
    #expect(error.recordLSN == request.records[0].startLSN)
    #expect(error.message.contains("nothing initialised"))
  }

  @Test func recordOfAnotherPageIsRefused() async throws {
    let history = try await SmallHistory.get()
    var request = try #require(history.request { $0.base != nil && $0.target.fork == .main })
    request.target.block += 100_000
    let error = try #require(
      try withPool { pool in failure { () throws(PageRedoError) in _ = try pool.redo([request]) } })
    #expect(error.code == .refused)
    #expect(error.message.contains("does not touch the page"))
  }

  @Test func kindsThatChangeMoreThanPagesAreRefused() async throws {
    let history = try await SmallHistory.get()
    let original = history.request(history.targets[0])
    for manager: UInt8 in [1, 2, 3, 4, 5, 6, 7, 8, 18, 19, 21, 22, 127, 128, 255] {
      var request = original
      request.records = [original.records[0]]
      request.records[0].bytes[17] = manager
      let error = try #require(
        try withPool(workers: 1) { pool in
          failure { () throws(PageRedoError) in _ = try pool.redo([request]) }
        })
      #expect(error.code == .refused, "resource manager \(manager): \(error)")
    }
  }

  /// Beyond the first segment, and at the last block there can be.
  @Test(arguments: [131_072, 5_000_000, 0xFFFF_FFFD] as [UInt32])
  func blocksFarOutWork(block: UInt32) async throws {
    var request = try await initialisingRequest()
    request.records = [request.records[0]]
    request.target.block = block
    withUnsafeBytes(of: block.littleEndian) { bytes in
      request.records[0].bytes.replaceSubrange(40..<44, with: bytes)
    }
    let made = try withPool { try $0.redo([request]) }
    #expect(made[0].lsn == request.records[0].endLSN)
    #expect(
      made[0].bytes.withUnsafeBytes { DataChecksum.verify($0, block: block) } == .valid)
    // The row's own address, in its header, names the block.
    let row = Int(made[0].bytes[24]) | Int(made[0].bytes[25] & 0x7F) << 8
    let high = UInt32(made[0].bytes[row + 12]) | UInt32(made[0].bytes[row + 13]) << 8
    let low = UInt32(made[0].bytes[row + 14]) | UInt32(made[0].bytes[row + 15]) << 8
    #expect(high << 16 | low == block)
  }

  @Test func blockThatCannotBeIsRefused() async throws {
    var request = try await initialisingRequest()
    request.target.block = .max - 1
    let error = try #require(
      try withPool { pool in failure { () throws(PageRedoError) in _ = try pool.redo([request]) } })
    #expect(error.code == .refused)
  }

  @Test func recordsLongerThanTheBoundAreRefused() async throws {
    var request = try await initialisingRequest()
    request.records[0].bytes = [UInt8](
      repeating: 0, count: RedoBatch.maximumRecordLength + 1)
    let batch = RedoBatch()
    let error = failure { () throws(PageRedoError) in try batch.append(request) }
    #expect(error?.code == .recordLength)
  }

  /// A chain longer than the memory shared with a worker goes over in parts.
  @Test func longChainIsCutAndComesOutTheSame() async throws {
    let history = try await SmallHistory.get()
    let hot = history.hottest
    let request = history.request(hot)
    #expect(request.records.reduce(0) { $0 + $1.bytes.count } > 40_000)
    let made = try withPool(exchangeBytes: 16 << 10) { try $0.redo([request]) }
    #expect(made[0].bytes == history.expected(hot))
  }

  @Test func recordsOutOfOrderAreRefused() async throws {
    let history = try await SmallHistory.get()
    var request = history.request(history.hottest)
    request.records.swapAt(3, 4)
    let error = try #require(
      try withPool { pool in failure { () throws(PageRedoError) in _ = try pool.redo([request]) } })
    #expect(error.code == .refused)
    #expect(error.message.contains("out of order"))
  }
}
