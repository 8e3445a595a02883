import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite struct EventGroupTests {
  private func file(_ number: UInt32) -> RelFileLocator {
    RelFileLocator(tablespace: 1663, database: 5, relation: number)
  }

  private func change(
    _ kind: LineEvents.FileChange.Kind, _ number: UInt32, xid: UInt32, at lsn: UInt64
  ) -> LineEvents.FileChange {
    LineEvents.FileChange(
      kind: kind, relation: file(number), xid: xid, lsn: LSN(lsn),
      time: Date(timeIntervalSince1970: Double(lsn)))
  }

  @Test func oneTransactionIsOneEventAtItsEnd() {
    var events = LineEvents()
    events.changes = [
      // DROP TABLE with its index and toast table
      change(.dropped, 10, xid: 1, at: 100), change(.dropped, 11, xid: 1, at: 100),
      change(.dropped, 12, xid: 1, at: 100),
      // TRUNCATE
      change(.created, 21, xid: 2, at: 150), change(.dropped, 20, xid: 2, at: 200),
      // CREATE TABLE that was rolled back
      change(.created, 30, xid: 3, at: 250), change(.dropped, 30, xid: 3, at: 260),
      // CREATE TABLE
      change(.created, 40, xid: 4, at: 300),
      // VACUUM cuts a file
      change(.truncated, 40, xid: 0, at: 310),
      change(.databaseDropped, 0, xid: 5, at: 320),
    ]
    let found = EventGroups(events).events(
      from: Date(timeIntervalSince1970: 0), to: Date(timeIntervalSince1970: 1000))
    #expect(found.map(\.kind) == [.dropDatabase, .create, .replace, .drop])
    #expect(found.map(\.lsn) == ["0/140", "0/12C", "0/C8", "0/64"])
    #expect(found.last?.files == 3)
  }

  @Test func deletesOfAMinuteThatChunksCutAreOne() {
    let start = Date(timeIntervalSince1970: 600)
    var events = LineEvents()
    events.deletions = [
      .init(start: start, relation: file(20_000), rows: 30, range: LSN(100)..<LSN(200)),
      .init(start: start, relation: file(20_000), rows: 40, range: LSN(200)..<LSN(300)),
      .init(start: start, relation: file(20_001), rows: 50, range: LSN(200)..<LSN(300)),
      // pg_attribute's
      .init(start: start, relation: file(1249), rows: 90, range: LSN(200)..<LSN(300)),
    ]
    let found = EventGroups(events).events(from: start, to: start.addingTimeInterval(60))
    #expect(found.map(\.rows).sorted { ($0 ?? 0) < ($1 ?? 0) } == [50, 70])
    #expect(EventGroups(events).deletion(of: "1663/5/20000", at: LSN(100))?.rows == 70)
  }

  @Test func bucketsAreNeverMoreThanAskedFor() {
    for seconds in [60.0, 3600, 86_400, 604_800, 2_592_000] {
      for count in [10, 100, 480, 2000] {
        let step = TimelineService.step(seconds: seconds, buckets: count)
        #expect(seconds / Double(step) <= Double(count), "\(seconds) s in \(count)")
        #expect(step >= 60)
      }
    }
  }

  @Test func bucketsHoldAllThatHappened() {
    var events = LineEvents()
    events.minutes = (0..<1440).map { minute in
      .init(
        start: Date(timeIntervalSince1970: Double(minute) * 60), lsn: LSN(UInt64(minute) * 1000),
        commits: 7, aborts: 1, walBytes: 1000, deletedRows: 2)
    }
    let (from, to) = (Date(timeIntervalSince1970: 0), Date(timeIntervalSince1970: 86_400))
    let buckets = TimelineBuckets(from: from, to: to, step: 3600).fill(events, EventGroups(events))
    #expect(buckets.count == 24)
    #expect(buckets.map(\.commits).reduce(0, +) == 1440 * 7)
    #expect(buckets.map(\.walBytes).reduce(0, +) == 1_440_000)
    #expect(buckets[1].lsn == LSN(60_000).description)
  }
}
