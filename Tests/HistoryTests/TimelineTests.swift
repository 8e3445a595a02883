import DurableIO
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

@Suite struct TimelineTests {
  private static let minutesADay: Int64 = 1440
  private static let microsecondsAMinute: Int64 = 60_000_000

  private let table = RelFileLocator(tablespace: 1663, database: 5, relation: 16384)

  /// A chunk in which each of `minutes` has `commits`; its bytes are few, since only the index is read.
  private func chunk(
    _ start: LSN, minutes: Range<Int64>, commits: Int, dropAt: Int64? = nil
  ) -> WALChunk {
    let origin = PostgresTimestamp(minutes.lowerBound * Self.microsecondsAMinute)
    var builder = WALChunkBuilder(
      line: lineA, timeline: TimelineID(1), systemIdentifier: 42, startLSN: start, time: origin)
    for (index, minute) in minutes.enumerated() {
      let position = start + UInt64(index) * 64
      testBytes(from: position, count: 64).withUnsafeBytes { builder.append($0) }
      builder.observeRecord(start: position, end: position + 64)
      let time = PostgresTimestamp(minute * Self.microsecondsAMinute)
      for _ in 0..<commits { builder.observeTransactionEnd(committed: true, time: time) }
      builder.observeHeapDelete(table, rows: 30)
      if minute == dropAt { builder.observeFileChange(.dropped, table, xid: 9, lsn: position) }
    }
    return builder.finish()
  }

  @Test func everyCommitDeleteAndDropIsToldOnce() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let start = LSN(0x100_0000)
      let writer = try await LineWriter.create(
        testDescription(lineA, start: start), environment: testEnvironment(store, directory))
      var position = start
      for first in stride(from: Int64(0), to: 60, by: 20) {
        let made = chunk(position, minutes: first..<first + 20, commits: 3, dropAt: 25)
        position = try await writer.appendChunk(made)
      }
      let history = try await LineHistory.open(lineA, store: store)
      let reader = TimelineReader()
      for _ in 0..<2 {  // from the store, then from memory
        let found = try await reader.timeline(of: history, from: start, to: position)
        #expect(found.minutes.map(\.commits).reduce(0, +) == 180)
        #expect(found.minutes.map(\.walBytes).reduce(0, +) == 60 * 64)
        #expect(found.changes.map(\.xid) == [9])
        #expect(found.deletions.map(\.rows).reduce(0, +) == 60 * 30)
      }
      let half = try await reader.timeline(of: history, from: start, to: start + 25 * 64)
      #expect(half.changes.isEmpty, "what lies behind the end is another's")
    }
  }

  /// 30 days of a million commits a day, in chunks as capture's merging leaves them.
  @Test func aMonthOfAMillionCommitsADayIsReadInTime() async throws {
    try await withTemporaryDirectory { directory in
      let files = try LocalObjectStore(
        root: "\(directory)/objects", fileSystem: SystemFileSystem())
      let start = LSN(0x100_0000)
      let writer = try await LineWriter.create(
        testDescription(lineA, start: start), environment: testEnvironment(files, directory))
      var position = start
      let last = 30 * Self.minutesADay
      for first in stride(from: Int64(0), to: last, by: 24) {
        position = try await writer.appendChunk(
          chunk(position, minutes: first..<min(first + 24, last), commits: 695))
      }
      let history = try await LineHistory.open(lineA, store: files)
      let reader = TimelineReader()
      let clock = ContinuousClock()
      let cold = try await clock.measure {
        let found = try await reader.timeline(of: history, from: start, to: position)
        #expect(found.minutes.map(\.commits).reduce(0, +) == UInt64(last) * 695)
      }
      let warm = try await clock.measure {
        _ = try await reader.timeline(of: history, from: start, to: position)
      }
      print("FIGURE timeline of 30 days: \(cold) cold, \(warm) warm")
      #expect(warm < .milliseconds(300))
    }
  }
}
