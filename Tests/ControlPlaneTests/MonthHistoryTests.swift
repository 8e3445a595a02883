import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import ControlPlane
@testable import History

/// Days of hourly snapshots and daily dumps on branches with stored histories, their expiry and the
/// collector included, in simulated time: what is promised is there and opens, and nothing else.
///
/// `EXZO_MONTH=all` takes a month and a hundred branches, and gives each a snapshot every hour (minutes instead of seconds).
@Suite(.serialized) struct MonthHistoryTests {
  private static let takesAll = ProcessInfo.processInfo.environment["EXZO_MONTH"] == "all"
  private static let days = takesAll ? 30 : 9
  private static let branches = takesAll ? 100 : 16
  private static let hourly = takesAll ? branches : 2
  private static let hour: TimeInterval = 3600
  private static let day = 86_400
  /// How long each is kept; days.
  private static let (hourlyKept, dailyKept, dumpsKept) = (2, 5, 3)

  private struct World {
    var core: Core
    var month: StoredMonth
    var collector: HistoryCollector
    var project: ProjectID
    /// Each branch with its line.
    var branches: [(id: BranchID, line: String)] = []
    var tools: SimulatedDumpTools
    /// Every moment that was ever kept, with its line and when.
    var moments: [SnapshotID: (line: String, lsn: LSN, at: Date)] = [:]
  }

  @Test func everyPromisedOneExistsAndOpensAndNoOther() async throws {
    try await Installation.with { installation in
      var world = try await Self.world(installation)
      let engine = OperationEngine(core: world.core, node: "month")
      let working = Task { try await engine.run() }
      try await Self.addBranches(&world, installation)
      for tick in 1...Self.days * 24 {
        try await Self.write(world, tick)
        installation.clock.advance(Self.hour)
        try await Self.runSchedules(world)
        try await Self.note(&world)
        guard tick % 24 == 0 else { continue }
        try await Self.collect(world)
        try await Self.check(world, day: tick / 24)
      }
      working.cancel()
      try await working.value
      #expect(
        world.moments.count == Self.days * (24 * Self.hourly + Self.branches - Self.hourly),
        "each once")
    }
  }

  private static func world(_ installation: Installation) async throws -> World {
    let month = StoredMonth(clock: installation.clock)
    let known = installation.core
    var core = Core(
      catalog: known.catalog, fleet: StoredFleet(installation.fleet, month),
      tenants: known.tenants, sealer: known.sealer, clock: known.clock, random: known.random,
      settings: known.settings, logger: known.logger)
    let tools = SimulatedDumpTools()
    core.dumpTools = tools
    let created = try await ProjectService(core: core).create(
      API.NewProject(historyRetentionSeconds: day), account: installation.account.id)
    return World(
      core: core, month: month, collector: HistoryCollector(environment: month.environment),
      project: ProjectID(created.project.id), tools: tools)
  }

  private static func addBranches(
    _ world: inout World, _ installation: Installation
  ) async throws {
    let schedules = ScheduleService(core: world.core, kinds: [.snapshot, .dump])
    try await settle(world.core)
    for number in 0..<branches {
      let made = try await BranchService(core: world.core).create(
        API.BranchCreateRequest(branch: API.NewBranch(name: "b\(number)")), project: world.project,
        account: installation.account.id)
      let id = BranchID(made.branch.id)
      let line = try await world.core.catalog.write { tx -> String in
        let found = try tx.branch(id).flatMap { try tx.line($0.lineID) }
        var line = try #require(found)
        line.isOpened = true
        try tx.update(line)
        return line.id.rawValue
      }
      try await world.month.addLine(line)
      installation.tenants.inherit(
        TenantContents(
          databases: [DatabaseRequest(name: "exzodb", owner: "exzodb_owner")], roles: []), on: line)
      world.branches.append((id, line))
      let isHourly = number < hourly
      try await schedules.set(
        API.BackupSchedule(schedule: [
          API.BackupScheduleItem(
            frequency: isHourly ? .hourly : .daily, hour: isHourly ? nil : number % 24,
            retentionSeconds: (isHourly ? hourlyKept : dailyKept) * day),
          API.BackupScheduleItem(
            frequency: .daily, hour: (number + 7) % 24, retentionSeconds: dumpsKept * day,
            kind: .dump),
        ]), branch: id, project: world.project, account: installation.account.id)
    }
    try await settle(world.core)
  }

  /// Branches with a snapshot each hour change each hour, the others a few times a day.
  private static func write(_ world: World, _ tick: Int) async throws {
    for (number, branch) in world.branches.enumerated()
    where number < hourly || (tick + number) % 6 == 0 {
      try await world.month.write(branch.line)
    }
  }

  private static func runSchedules(_ world: World) async throws {
    let core = world.core
    let scheduler = BackupScheduler(
      core: core, actions: [.snapshot: SnapshotBackup(core: core), .dump: DumpBackup(core: core)])
    for _ in 0..<3 { try await scheduler.round() }
    try await settle(core)
    try await core.catalog.write { [now = core.clock.now] tx in
      _ = try tx.expireSnapshots(
        at: now, projectsDeletedBefore: now.addingTimeInterval(-Presenter.recoverySeconds))
    }
    try await DumpHousekeeping(core: core).round()
    try await core.reading.endIdle(core)
  }

  private static func settle(_ core: Core) async throws {
    while try await core.catalog.read({ try !$0.unfinishedOperations().isEmpty }) {
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  private static func note(_ world: inout World) async throws {
    let project = world.project
    for row in try await world.core.catalog.read({ try $0.snapshots(of: project) })
    where world.moments[row.id] == nil {
      world.moments[row.id] = (row.lineID.rawValue, row.lsn, world.core.clock.now)
    }
  }

  /// As serve does it.
  private static func collect(_ world: World) async throws {
    let demands = try await RetentionService(core: world.core).promises().map { promise in
      (
        LineID(rawValue: promise.lineID),
        LineDemand(
          window: promise.start.map { .since(PostgresTimestamp(date: $0)) },
          moments: promise.moments,
          readings: promise.readings.map {
            .init(lsn: $0.lsn, since: PostgresTimestamp(date: $0.since))
          },
          inheritsWindow: promise.inheritsWindow)
      )
    }
    let report = try await world.collector.collect(
      Dictionary(demands, uniquingKeysWith: { first, _ in first }))
    #expect(report.problems.isEmpty, "\(report.problems)")
  }

  private static func check(_ world: World, day: Int) async throws {
    let project = world.project
    let (snapshots, dumps) = try await world.core.catalog.read { tx in
      (
        try tx.snapshots(of: project),
        try world.branches.flatMap { try tx.finishedDumps(of: $0.id) }
      )
    }
    let kept = Dictionary(grouping: snapshots, by: \.branchID)
    let dumped = Dictionary(grouping: dumps, by: \.branchID)
    for (number, branch) in world.branches.enumerated() {
      let expected = number < hourly ? min(day, hourlyKept) * 24 : min(day, dailyKept)
      #expect(kept[branch.id]?.count == expected, "snapshots of branch \(number), day \(day)")
      #expect(
        dumped[branch.id]?.count == min(day, dumpsKept), "dumps of branch \(number), day \(day)")
      // All of them, the newest moment too.
      let promised = (kept[branch.id] ?? []).map(\.lsn) + [await world.month.head(branch.line)]
      try await world.month.open(promised.compactMap(\.self), of: branch.line)
    }
    // What the store holds of dumps are these, each whole and compared with its source.
    #expect(world.tools.kept == Set(dumps.map(\.id.rawValue)), "day \(day)")
    #expect(dumps.allSatisfy { $0.verification?.status == .passed })
    try await checkGone(world, day)
  }

  /// What expired before the window and all that is kept does not open any more, and takes no room.
  private static func checkGone(_ world: World, _ day: Int) async throws {
    let old = world.core.clock.now.addingTimeInterval(-Double((dailyKept + 2) * Self.day))
    let expired = world.moments.values.filter { $0.at < old }
    for moment in expired.shuffled().prefix(20) {
      await #expect(throws: (any Error).self, "\(moment) still opens on day \(day)") {
        try await world.month.open([moment.lsn], of: moment.line)
      }
    }
    for (number, branch) in world.branches.enumerated() {
      // Two chunks for each write of the window and the day before the last round, and for what is kept; and those
      // that a merge is not due for yet.
      let writes = number < hourly ? 24 * (hourlyKept + 2) : 4 * 3 + dailyKept + dumpsKept
      let chunks = world.month.store.count(in: "lines/\(branch.line)/wal")
      #expect(chunks <= 2 * writes + 12, "branch \(number) has \(chunks) chunks on day \(day)")
    }
  }
}
