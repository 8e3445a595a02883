import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

/// What of a sealed line does not open is damage to whoever reads the line, as in a plain one.
@Suite struct SealedDamageTests {
  private let start = LSN(0x100_0000)
  private let keys = LineKeys(line: lineA)

  private func line(
    in place: SealablePlace, _ directory: String, chunks: Int = 3
  ) async throws -> LineWriter {
    let writer = try await LineWriter.create(
      testDescription(lineA), environment: testEnvironment(try await place.open(), directory))
    for _ in 0..<chunks {
      try await writer.appendChunk(
        testChunk(lineA, from: await writer.uploadedLSN, count: 1000))
    }
    return writer
  }

  private func damage(_ key: ObjectKey, _ place: SealablePlace, to bytes: [UInt8]? = nil)
    async throws
  {
    let stored = try #require(try await place.stored(key))
    var damaged = try #require(place.base[stored])
    damaged[damaged.count - 20] ^= 1
    place.base[stored] = bytes ?? damaged
  }

  /// What a recovery asks before it takes a line over: it names the object, or lets the others come back.
  @Test(arguments: [nil, []] as [[UInt8]?])
  func aDamagedChunkAtTheEndIsNamed(bytes: [UInt8]?) async throws {
    try await withTemporaryDirectory { directory in
      let place = try SealablePlace(directory, isSealed: true)
      let writer = try await line(in: place, directory)
      let newest = keys.wal(try #require(await writer.contents.chunks.last).number)
      try await damage(newest, place, to: bytes)
      let history = try await LineHistory.open(lineA, store: try await place.open())
      let damages = await history.damages
      #expect(damages.map(\.key) == [newest.name])
      #expect(damages.map(\.code) == [.damaged])
      #expect(await history.uploadedLSN == start + 2000)
      let resumed = try await LineWriter.resume(
        lineA, environment: testEnvironment(try await place.open(), directory))
      #expect(await resumed.uploadedLSN == start + 2000)
    }
  }

  @Test func aDamagedKeyframeIsPassedOver() async throws {
    try await withTemporaryDirectory { directory in
      let place = try SealablePlace(directory, isSealed: true)
      let writer = try await line(in: place, directory)
      for (number, position) in [start + 1000, start + 2000].enumerated() {
        _ = try await writer.appendKeyframe(
          from: [testEpoch(UInt64(number + 1), blocks: [1], seed: 3)], testParameters(position))
      }
      let newest = try #require(await writer.newestKeyframe)
      try await damage(keys.keyframe(newest.number), place)
      let history = try await LineHistory.open(lineA, store: try await place.open())
      let moment = try await history.seek(.head, now: PostgresTimestamp(0))
      #expect(moment.keyframe.consistentLSN == start + 1000)
    }
  }

  /// One line's damage ends no round for the others.
  @Test func theCollectorLeavesADamagedLineAlone() async throws {
    try await withTemporaryDirectory { directory in
      let place = try SealablePlace(directory, isSealed: true)
      _ = try await line(in: place, directory)
      let owner = try #require(
        try await LineOwner.list(on: lineA, store: try await place.open()).first)
      try await damage(owner.key, place)
      let collector = HistoryCollector(
        environment: testEnvironment(try await place.open(), directory))
      let report = try await collector.collect([:])
      #expect(report.problems.map(\.code) == [.damaged])
      #expect(report.problems.map(\.key) == [owner.key.name])
    }
  }

  /// A key that is not at hand says nothing of what is stored: nothing is passed over because of it.
  @Test func aMasterKeyThatIsNotAtHandIsNoDamage() async throws {
    try await withTemporaryDirectory { directory in
      let place = try SealablePlace(directory, isSealed: true)
      _ = try await line(in: place, directory)
      // It knows what objects are called, and no key of any.
      let store = try await place.open()
      try FileManager.default.removeItem(atPath: "\(directory)/master-key")
      let reading = await historyError { _ = try await LineHistory.open(lineA, store: store) }
      #expect(reading?.code == .unknownKey)
      #expect(reading?.description.contains("restore your copy of it") == true)
      let verifying = await historyError {
        _ = try await LineVerifier(store: store).verify(lineA, moments: [], windowStart: nil)
      }
      #expect(verifying?.code == .unknownKey)
    }
  }
}
