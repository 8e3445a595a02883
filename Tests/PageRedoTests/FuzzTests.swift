import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import PageRedo

/// Damaged records and pages among sound ones: an error at worst, and the sound ones come out right.
@Suite(.serialized, .heavy, .needsPostgres()) struct FuzzTests {
  @Test(arguments: [1, 2, 3] as [UInt64])
  func damageIsAnErrorAndNeverAnotherRequestsPage(seed: UInt64) async throws {
    let history = try await SmallHistory.get()
    var random = SeededRandom(seed: seed)
    let pool = try makePool(workers: 2, timeLimit: 2)
    defer { pool.stop() }
    var codes: [String: Int] = [:]
    let rounds = ProcessInfo.processInfo.environment["EXZO_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 12
    for _ in 1...rounds {
      let batch = RedoBatch()
      var sound: [Int: PageTarget] = [:]
      for _ in 1...32 {
        let target = history.targets.randomElement(using: &random)!
        if random.oneIn(2) {
          sound[batch.count] = target
          try history.append(target, to: batch)
        } else {
          try batch.append(damaged(history.request(target), history, &random))
        }
      }
      let started = Date()
      try pool.redo(batch)
      #expect(Date().timeIntervalSince(started) < 120, "seed \(seed)")
      for index in 0..<batch.count {
        switch batch.outcome(of: index) {
        case .page, .zeroPage: codes["page", default: 0] += 1
        case .failed(let error):
          codes[error.code.rawValue, default: 0] += 1
          #expect(error.target == batch.target(of: index), "seed \(seed): \(error)")
          #expect(sound[index] == nil, "seed \(seed): \(error)")
        }
        if let target = sound[index] {
          let isRight = batch.page(of: index).elementsEqual(history.expected(target))
          #expect(isRight, "seed \(seed): \(target)")
        }
      }
    }
    print("fuzz, seed \(seed): \(codes.sorted { $0.key < $1.key })")
    #expect(codes["page_redo_refused", default: 0] > 0)
  }

  private func damaged(
    _ request: PageRedoRequest, _ history: SmallHistory, _ random: inout SeededRandom
  ) -> PageRedoRequest {
    var request = request
    let index = random.below(request.records.count)
    switch random.pick(1...9) {
    case 1, 2, 3:
      // Any bytes but the length, which the caller's CRC covers as well.
      for _ in 1...random.pick(1...6) {
        let at = random.pick(4...(request.records[index].bytes.count - 1))
        request.records[index].bytes[at] = UInt8(random.below(256))
      }
    case 4:
      let kept = random.pick(1...request.records[index].bytes.count)
      request.records[index].bytes.removeLast(request.records[index].bytes.count - kept)
      fixLength(&request.records[index])
    case 5:
      request.records[index].bytes += (0..<random.pick(1...200)).map { _ in
        UInt8(random.below(256))
      }
      fixLength(&request.records[index])
    case 6: request.base = history.expected(history.targets.randomElement(using: &random)!)
    case 7:
      request.base = (0..<PostgresLayout.blockSize).map { _ in UInt8(random.below(256)) }
    case 8:
      request.target.block = UInt32(truncatingIfNeeded: random.next())
      request.target.fork = ForkNumber.allCases.randomElement(using: &random)!
    default:
      request.records[index].bytes[17] = UInt8(random.pick(9...20))
      request.records[index].bytes[16] = UInt8(random.below(256))
    }
    return request
  }

  private func fixLength(_ record: inout RedoRecord) {
    guard record.bytes.count >= 4 else { return }
    withUnsafeBytes(of: UInt32(record.bytes.count).littleEndian) {
      record.bytes.replaceSubrange(0..<4, with: $0)
    }
  }
}
