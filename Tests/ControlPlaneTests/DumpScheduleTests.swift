import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// Scheduled dumps of branches where not every database can be dumped.
@Suite(.serialized) struct DumpScheduleTests {
  /// A daily schedule on a scene's main branch, due now.
  private struct Runs: Sendable {
    let scene: DumpScene
    let scheduler: BackupScheduler
    let schedules: ScheduleService

    init(_ scene: DumpScene, retentionSeconds: Int? = nil) async throws {
      self.scene = scene
      let core = scene.core
      scheduler = BackupScheduler(core: core, actions: [.dump: DumpBackup(core: core)])
      schedules = ScheduleService(core: core, kinds: [.dump])
      try await schedules.set(
        API.BackupSchedule(schedule: [
          .init(frequency: .daily, hour: 3, retentionSeconds: retentionSeconds, kind: .dump)
        ]),
        branch: scene.past.main, project: scene.project, account: scene.account)
      try await advance(to: try await item().nextRunAt)
    }

    func item() async throws -> API.BackupScheduleItem {
      try await schedules.get(
        branch: scene.past.main, project: scene.project, account: scene.account
      ).schedule[0]
    }

    func advance(to time: Date?) async throws {
      let clock = scene.past.installation.clock
      clock.advance(try #require(time).timeIntervalSince(clock.now) + 1)
    }

    func dumps() async throws -> [API.Dump] {
      try await scene.service.list(
        project: scene.project, account: scene.account, page: PageRequest(limit: 100)
      ).dumps
    }

    /// The ends of the operations of all dumps.
    @discardableResult
    func settle() async throws -> [API.Operation] {
      var ends: [API.Operation] = []
      for dump in try await dumps() {
        let id = OperationID(dump.operationID)
        ends.append(
          try #require(try await OperationService(core: scene.core).end(of: id)))
      }
      return ends
    }

    /// How often a database was dumped.
    func count(_ database: String) -> Int {
      scene.tools.calls.count { $0 == "make \(database) custom" }
    }
  }

  /// Eight attempts, and the others' dumps are made once.
  @Test func aDatabaseThatFailsForGoodMultipliesNoOthersDumps() async throws {
    try await DumpScene.with { scene in
      let runs = try await Runs(scene)
      scene.tools.fail(
        "make sql only custom", with: Array(repeating: DumpError("it cannot be read"), count: 20))
      try await runs.scheduler.round()
      try await runs.settle()
      while let retry = try await runs.item().retryAt {
        try await runs.advance(to: retry)
        try await runs.scheduler.round()
        try await runs.settle()
      }
      #expect(runs.count("exzodb") == 1 && runs.count("sql only") == 8, "\(scene.tools.calls)")
      let item = try await runs.item()
      #expect(item.lastRunStatus == .failed && item.lastRunError == "it cannot be read")
      // The next day all are wanted again.
      try await runs.advance(to: item.nextRunAt)
      try await runs.scheduler.round()
      try await runs.settle()
      #expect(runs.count("exzodb") == 2 && runs.count("sql only") == 9, "\(scene.tools.calls)")
    }
  }

  @Test func aDumpThatIsStillBeingMadeIsNotMadeTwice() async throws {
    try await DumpScene.with { scene in
      let runs = try await Runs(scene)
      scene.tools.fail("make sql only custom", with: [DumpError("no room")])
      scene.tools.hold(true)
      try await runs.scheduler.round()
      var item = try await runs.item()
      while item.lastRunStatus != .failed {
        try await Task.sleep(for: .milliseconds(5))
        item = try await runs.item()
      }
      try await runs.advance(to: item.retryAt)
      try await runs.scheduler.round()
      let made = try await runs.dumps().map(\.database).sorted()
      #expect(made == ["exzodb", "sql only", "sql only"])
      scene.tools.hold(false)
      try await runs.settle()
      #expect(runs.count("exzodb") == 1 && runs.count("sql only") == 2, "\(scene.tools.calls)")
      #expect(try await runs.item().lastRunStatus == .finished)
    }
  }

  @Test func aDumpThatIsNotAsItsSourceIsMadeAgain() async throws {
    try await DumpScene.with { scene in
      let runs = try await Runs(scene)
      scene.tools.alterRestores(true)
      try await runs.scheduler.round()
      try await runs.settle()
      scene.tools.alterRestores(false)
      try await runs.advance(to: try await runs.item().retryAt)
      try await runs.scheduler.round()
      try await runs.settle()
      #expect(runs.count("exzodb") == 2 && runs.count("sql only") == 2, "\(scene.tools.calls)")
      let item = try await runs.item()
      #expect(item.lastRunStatus == .finished && item.retryAt == nil, "\(item)")
    }
  }

  /// Its time is over, and it is all that there is.
  @Test(arguments: [true, false])
  func theLastGoodDumpStaysWhileNewerRunsFail(isMended: Bool) async throws {
    try await DumpScene.with { scene in
      let runs = try await Runs(scene, retentionSeconds: 3600)
      try await runs.scheduler.round()
      try await runs.settle()
      let first = try await runs.dumps()
      let last = try #require(first.first { $0.database == "exzodb" }).id
      #expect(scene.tools.kept == Set(first.map(\.id)))
      try await runs.advance(to: try await runs.item().nextRunAt)
      // Due, under way, failed.
      try await scene.housekeep()
      #expect(scene.tools.kept == Set(first.map(\.id)))
      scene.tools.fail("make exzodb custom", with: [DumpError("no room")])
      try await runs.scheduler.round()
      try await scene.housekeep()
      #expect(scene.tools.kept.contains(last))
      try await runs.settle()
      try await scene.housekeep()
      let present = try await runs.dumps()
      let other = try #require(present.first { $0.database == "sql only" }).id
      #expect(scene.tools.kept == [last, other])
      if isMended {
        try await runs.advance(to: try await runs.item().retryAt)
        try await runs.scheduler.round()
        try await runs.settle()
      } else {
        // Who takes no more dumps waits for no better one.
        try await runs.schedules.set(
          API.BackupSchedule(schedule: []), branch: scene.past.main, project: scene.project,
          account: scene.account)
      }
      try await scene.housekeep()
      #expect(!scene.tools.kept.contains(last) && scene.tools.kept.contains(other))
    }
  }

  /// A run of which nothing comes has not succeeded.
  @Test func aRunThatFindsOnlyClosedDatabasesFailsAndNamesThem() async throws {
    try await DumpScene.with { scene in
      scene.inherit(["noconn"], closed: ["noconn"])
      let runs = try await Runs(scene)
      try await runs.scheduler.round()
      let item = try await runs.item()
      #expect(item.lastRunStatus == .failed && item.retryAt != nil, "\(item)")
      #expect(item.lastRunError?.contains("'noconn' is not dumped") == true, "\(item)")
      #expect(try await runs.dumps().isEmpty)
    }
  }

  /// As by `pg_dumpall`, but it is said; named, it is refused with what to do.
  @Test func aDatabaseThatAllowsNoConnectionsIsLeftOutByName() async throws {
    try await DumpScene.with { scene in
      scene.inherit(["exzodb", "noconn"], closed: ["noconn"])
      let runs = try await Runs(scene)
      try await runs.scheduler.round()
      let ends = try await runs.settle()
      #expect(try await runs.dumps().map(\.database) == ["exzodb"])
      #expect(ends[0].status == .finished && ends[0].notes?.count == 1, "\(ends)")
      #expect(ends[0].notes?[0].contains("'noconn'") == true, "\(ends)")
      let item = try await runs.item()
      #expect(item.lastRunStatus == .finished && item.retryAt == nil, "\(item)")
      let all = try await scene.create(scene.main(.all))
      #expect(all.dumps.map(\.database) == ["exzodb"])
      #expect(all.operations[0].notes?[0].contains("'noconn'") == true)
      let one = try await scene.create(scene.main())
      #expect(one.operations[0].notes == nil)
      var named = scene.main(.names(["exzodb", "noconn"]))
      for branches in [named.branches, .all] {
        named.branches = branches
        let request = named
        let error = await #expect(throws: ControlPlaneError.self) {
          _ = try await scene.create(request)
        }
        #expect(error?.code == .badValue && error?.hint?.contains("ALLOW_CONNECTIONS") == true)
      }
    }
  }
}
