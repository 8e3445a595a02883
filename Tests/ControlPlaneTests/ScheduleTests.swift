import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import ControlPlane

@Suite(.serialized) struct ScheduleTests {
  private func date(_ text: String) throws -> Date { try #require(RFC3339.date(text)) }

  private func rule(
    _ frequency: API.BackupFrequency, hour: Int = 0, day: Int = 1, month: Int = 1,
    zone: String = "UTC"
  ) throws -> ScheduleRule {
    ScheduleRule(
      frequency: frequency, hour: hour, day: day, month: month,
      timeZone: try #require(TimeZone(identifier: zone)))
  }

  private func times(_ rule: ScheduleRule, after start: String, _ count: Int) throws -> [String] {
    var date = try date(start)
    return (0..<count).map { _ in
      date = rule.next(after: date)
      return RFC3339.text(date)
    }
  }

  @Test func runsAreDueAtLocalTimesThroughClockChangesAndMonthEnds() throws {
    // 2:00 does not exist on 2026-03-29 in Berlin, and is there twice on 2026-10-25.
    #expect(
      try times(rule(.daily, hour: 2, zone: "Europe/Berlin"), after: "2026-03-28T00:00:00Z", 3)
        == ["2026-03-28T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"])
    #expect(
      try times(rule(.daily, hour: 2, zone: "Europe/Berlin"), after: "2026-10-24T12:00:00Z", 2)
        == ["2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"])
    #expect(
      try times(rule(.hourly, zone: "Asia/Kolkata"), after: "2026-01-01T00:00:00Z", 2)
        == ["2026-01-01T00:30:00Z", "2026-01-01T01:30:00Z"])
    // New York's hour that comes twice is two hours.
    #expect(
      try times(rule(.hourly, zone: "America/New_York"), after: "2026-11-01T04:30:00Z", 3)
        == ["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"])
    // Monday is 1, and 2026-11-23 is one.
    #expect(
      try times(rule(.weekly, hour: 3), after: "2026-11-22T23:00:00Z", 2)
        == ["2026-11-23T03:00:00Z", "2026-11-30T03:00:00Z"])
    #expect(
      try times(rule(.weekly, hour: 3, day: 7), after: "2026-11-23T03:00:00Z", 1)
        == ["2026-11-29T03:00:00Z"])
    #expect(
      try times(rule(.monthly, day: 31), after: "2028-01-31T00:00:00Z", 4)
        == [
          "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z", "2028-04-30T00:00:00Z",
          "2028-05-31T00:00:00Z",
        ])
    #expect(
      try times(rule(.yearly, hour: 5, day: 30, month: 2), after: "2026-12-31T00:00:00Z", 2)
        == ["2027-02-28T05:00:00Z", "2028-02-29T05:00:00Z"])
    #expect(
      try times(
        rule(.yearly, hour: 23, day: 31, month: 12, zone: "Pacific/Auckland"),
        after: "2026-12-31T09:59:00Z", 2) == ["2026-12-31T10:00:00Z", "2027-12-31T10:00:00Z"])
  }

  /// Foundation's calendar answers the same, for any day of four centuries.
  @Test func civilDaysAreFoundations() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
    for number in stride(from: -80_000, through: 80_000, by: 17) {
      let parts = calendar.dateComponents(
        [.year, .month, .weekday, .day], from: Date(timeIntervalSince1970: Double(number) * 86_400))
      let day = CivilDate(number)
      #expect(day.year == parts.year && day.month == parts.month, "\(number)")
      #expect(day.weekday % 7 + 1 == parts.weekday, "\(number)")
      let again = CivilDate(
        year: day.year, month: day.month, clampedDay: try #require(parts.day))
      #expect(again.number == number)
    }
  }

  @Test func schedulesAreCheckedByField() throws {
    let rules = ScheduleRules(kinds: [.snapshot])
    let refused: [(API.BackupScheduleItem, String)] = [
      (.init(frequency: .daily, hour: 24), "hour"), (.init(frequency: .daily, day: 1), "day"),
      (.init(frequency: .hourly, hour: 1), "hour"), (.init(frequency: .weekly, day: 8), "day"),
      (.init(frequency: .monthly, day: 32), "day"), (.init(frequency: .monthly, day: 0), "day"),
      (.init(frequency: .monthly, month: 2), "month"),
      (.init(frequency: .yearly, month: 13), "month"),
      (.init(frequency: .daily, retentionSeconds: 3599), "retention_seconds"),
      (.init(frequency: .daily, kind: .dump), "kind"),
      (.init(frequency: .daily, timeZone: "Mars/Olympus"), "time_zone"),
      (.init(frequency: .daily, timeZone: "EST5"), "time_zone"),
      (.init(frequency: .daily, timeZone: ""), "time_zone"),
    ]
    for (item, field) in refused {
      do {
        _ = try rules.check([item])
        Issue.record("accepted: \(item)")
      } catch let error as ControlPlaneError {
        #expect(error.message.contains("schedule[0].\(field)'"), "\(error)")
      }
    }
    #expect(throws: ControlPlaneError.self) {
      try rules.check(Array(repeating: .init(frequency: .daily), count: 51))
    }
    #expect(try rules.check([.init(frequency: .daily, timeZone: "Europe/Berlin")]).count == 1)
  }

  /// Debian's servers come with the database; Foundation's own list has none of these.
  @Test func everyNameOfTheTimeZoneDatabaseIsTakenAndNothingElse() throws {
    let rules = ScheduleRules(kinds: [.snapshot])
    for (name, hours) in [
      ("Asia/Kolkata", 5.5), ("Etc/UTC", 0), ("Etc/GMT+5", -5), ("US/Eastern", -5),
      ("Asia/Saigon", 7), ("EST5EDT", -5), ("America/Argentina/ComodRivadavia", -3),
    ] {
      let rule = try rules.check(.init(frequency: .daily, timeZone: name), "")
      let winter = try date("2026-01-15T00:00:00Z")
      #expect(Double(rule.timeZone.secondsFromGMT(for: winter)) == hours * 3600, "\(name)")
    }
    for name in [
      "GMT+0530", "GMT+5", "PST", "IST", "asia/kolkata", "US/EASTERN", "posix/Europe/Berlin",
      "right/Europe/Berlin", "localtime", "posixrules", "leapseconds", "tzdata.zi", "Europe",
      "Europe/", "/Europe/Berlin", "Europe//Berlin", "../zoneinfo/Europe/Berlin",
      "Europe/../Europe/Berlin", "../x", "Europe/Berlin\0", "SystemV/EST5",
    ] {
      #expect(throws: ControlPlaneError.self, "\(name)") {
        try rules.check(.init(frequency: .daily, timeZone: name), "")
      }
    }
  }

  @Test func withoutTheDatabaseFoundationsNamesAreLeft() async throws {
    try await withTemporaryDirectory { directory in
      let files = FileManager.default
      try files.createDirectory(
        atPath: "\(directory)/Asia", withIntermediateDirectories: false)
      try Data("TZif2".utf8).write(to: URL(fileURLWithPath: "\(directory)/Asia/Kolkata"))
      try Data("TZ".utf8).write(to: URL(fileURLWithPath: "\(directory)/Asia/Saigon"))
      let names = TimeZoneNames(directory: directory)
      #expect(names.zone("Asia/Kolkata") != nil)
      let none = TimeZoneNames(directory: "\(directory)/none")
      for name in ["UTC", "Europe/Berlin", "Asia/Calcutta"] {
        #expect(names.zone(name) != nil && none.zone(name) != nil, "\(name)")
      }
      // No file of the database; a directory; nothing.
      for name in ["Asia/Saigon", "Asia", "US/Eastern"] {
        #expect(names.zone(name) == nil && none.zone(name) == nil, "\(name)")
      }
      #expect(none.zone("Asia/Kolkata") == nil)
    }
  }

  /// A scheduler on a scene whose clock moves as told.
  private struct Runs {
    let scene: PastScene
    let scheduler: BackupScheduler
    let service: ScheduleService

    init(_ scene: PastScene) {
      self.scene = scene
      let core = scene.core
      scheduler = BackupScheduler(core: core, actions: [.snapshot: SnapshotBackup(core: core)])
      service = ScheduleService(core: core, kinds: [.snapshot])
    }

    func set(_ items: [API.BackupScheduleItem]) async throws {
      try await service.set(
        API.BackupSchedule(schedule: items), branch: scene.main, project: scene.project,
        account: scene.account)
    }

    func item() async throws -> API.BackupScheduleItem {
      try #require(
        try await service.get(
          branch: scene.main, project: scene.project, account: scene.account
        ).schedule.first)
    }

    var count: Int {
      get async throws {
        try await SnapshotService(core: scene.core).list(
          project: scene.project, account: scene.account
        ).count
      }
    }
  }

  @Test func itemsAddedAndRemovedAtOnceAreAllThereAndAllGone() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let service = ScheduleService(core: installation.core, kinds: [.snapshot])
        func add(_ hour: Int) async throws -> API.BackupSchedule {
          try await service.add(
            .init(frequency: .daily, hour: hour), branch: scene.main, project: scene.project,
            account: scene.account)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for hour in 0..<10 { group.addTask { _ = try await add(hour) } }
          try await group.waitForAll()
        }
        let all = try await service.get(
          branch: scene.main, project: scene.project, account: scene.account
        ).schedule
        #expect(all.compactMap(\.hour).sorted() == Array(0..<10))
        let ids = all.compactMap(\.id).map { ScheduleItemID($0) }
        #expect(Set(ids).count == 10)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for id in ids.dropLast(2) {
            group.addTask {
              _ = try await service.remove(
                id, branch: scene.main, project: scene.project, account: scene.account)
            }
          }
          for hour in 10..<12 { group.addTask { _ = try await add(hour) } }
          try await group.waitForAll()
        }
        let left = try await service.get(
          branch: scene.main, project: scene.project, account: scene.account
        ).schedule
        #expect(left.prefix(2).map(\.id) == all.suffix(2).map(\.id))
        #expect(Set(left.suffix(2).compactMap(\.hour)) == [10, 11])
        // Gone, and never another branch's.
        for branch in [scene.main, scene.dev] {
          #expect(
            try await installation.refusal {
              _ = try await service.remove(
                branch == scene.main ? ids[0] : ids[9], branch: branch, project: scene.project,
                account: scene.account)
            } == .scheduleItemNotFound)
        }
        #expect(try await installation.refusal { _ = try await add(24) } == .badValue)
        for _ in left.count..<ScheduleRules.itemsLimit { _ = try await add(1) }
        #expect(try await installation.refusal { _ = try await add(1) } == .badValue)
      }
    }
  }

  @Test func missedRunsAreMadeUpOnceAndSayThatTheyAreLate() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let runs = Runs(try await PastScene(installation))
        let clock = installation.clock
        try await runs.set([.init(frequency: .hourly, retentionSeconds: 7200)])
        try await runs.scheduler.round()
        #expect(try await runs.count == 0)
        let due = try #require(try await runs.item().nextRunAt)
        clock.advance(due.timeIntervalSince(clock.now))
        for _ in 0..<3 { try await runs.scheduler.round() }
        #expect(try await runs.count == 1)
        var item = try await runs.item()
        #expect(item.lastRunStatus == .finished && item.lastRunFor == due)
        #expect(item.nextRunAt == due.addingTimeInterval(3600))
        // A day of downtime: one run, late.
        clock.advance(86_400 + 600)
        for _ in 0..<3 { try await runs.scheduler.round() }
        item = try await runs.item()
        #expect(item.lastRunStatus == .late)
        #expect(try #require(item.nextRunAt) > clock.now)
        #expect(try await runs.count == 2)
        // The same schedule once more keeps its runs; an empty one turns it off.
        try await runs.set([.init(frequency: .hourly, retentionSeconds: 9000)])
        #expect(try await runs.item().lastRunStatus == .late)
        try await runs.set([])
        clock.advance(86_400)
        try await runs.scheduler.round()
        #expect(try await runs.count == 2)
        let made = try await installation.core.catalog.read { [scene = runs.scene] in
          try $0.snapshots(of: scene.project)
        }
        #expect(made.allSatisfy { !$0.isManual && $0.expiresAt != nil })
      }
    }
  }

  @Test func aClockThatJumpsNeitherRepeatsNorSilencesARun() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let runs = Runs(try await PastScene(installation))
        let clock = installation.clock
        try await runs.set([.init(frequency: .hourly)])
        let due = try #require(try await runs.item().nextRunAt)
        clock.advance(due.timeIntervalSince(clock.now) + 1)
        try await runs.scheduler.round()
        #expect(try await runs.count == 1)
        // Back by a few minutes: what ran for that hour does not run again.
        clock.advance(-600)
        for _ in 0..<4 {
          clock.advance(200)
          try await runs.scheduler.round()
        }
        #expect(try await runs.count == 1)
        // Far ahead by mistake, one late run; back again, the schedule goes on within two hours.
        clock.advance(30 * 86_400)
        try await runs.scheduler.round()
        #expect(try await runs.count == 2)
        clock.advance(-30 * 86_400)
        try await runs.scheduler.round()
        let next = try #require(try await runs.item().nextRunAt)
        #expect(next.timeIntervalSince(clock.now) <= 7200)
      }
    }
  }

  @Test func aFailingRunIsTriedAgainWithGrowingPausesAndIsShown() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let runs = Runs(try await PastScene(installation))
        let clock = installation.clock
        try await runs.set([.init(frequency: .daily)])
        let due = try #require(try await runs.item().nextRunAt)
        clock.advance(due.timeIntervalSince(clock.now))
        installation.fleet.fail(
          "resolve",
          with: Array(repeating: ComputeFleetError(.damaged, "chunk is damaged"), count: 2))
        var pauses: [TimeInterval] = []
        for _ in 0..<2 {
          try await runs.scheduler.round()
          // Not before its time.
          try await runs.scheduler.round()
          let item = try await runs.item()
          #expect(item.lastRunStatus == .failed && item.lastRunError == "chunk is damaged")
          #expect(item.nextRunAt == due)
          pauses.append(try #require(item.retryAt).timeIntervalSince(clock.now))
          clock.advance(pauses[pauses.count - 1])
        }
        #expect(pauses == [60, 120])
        #expect(
          try await installation.core.catalog.read { try $0.failingScheduleItemCount() } == 1)
        try await runs.scheduler.round()
        let item = try await runs.item()
        #expect(item.lastRunStatus == .finished && item.lastRunError == nil)
        #expect(try await runs.count == 1)
        #expect(
          try await installation.core.catalog.read { try $0.failingScheduleItemCount() } == 0)
      }
    }
  }

  /// A month of hourly snapshots kept for a day, in simulated time.
  @Test func aMonthOfRunsKeepsWhatItPromisesAndNothingElse() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let runs = Runs(try await PastScene(installation))
        let clock = installation.clock
        try await runs.set([
          .init(frequency: .hourly, retentionSeconds: 86_400), .init(frequency: .weekly, hour: 3),
        ])
        let start = clock.now
        while clock.now < start.addingTimeInterval(30 * 86_400) {
          clock.advance(1800)
          try await runs.scheduler.round()
          try await installation.core.catalog.write { [now = clock.now] tx in
            _ = try tx.expireSnapshots(
              at: now, projectsDeletedBefore: now.addingTimeInterval(-Presenter.recoverySeconds))
          }
        }
        let left = try await installation.core.catalog.read { [scene = runs.scene] in
          try $0.snapshots(of: scene.project)
        }
        let hourly = left.filter { $0.expiresAt != nil }
        #expect((24...25).contains(hourly.count), "\(hourly.count)")
        #expect((4...5).contains(left.count - hourly.count), "\(left.count - hourly.count)")
      }
    }
  }
}
