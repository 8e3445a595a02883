import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

/// A project with two databases on its main branch, and simulated dumps.
struct DumpScene: Sendable {
  let past: PastScene
  let tools: SimulatedDumpTools
  let service: DumpService

  var project: ProjectID { past.project }
  var account: AccountID { past.account }
  var core: Core { service.core }

  /// - Parameter isWorking: whether an engine works while `body` runs.
  static func with(
    isWorking: Bool = true, _ body: @escaping @Sendable (DumpScene) async throws -> Void
  ) async throws {
    try await Installation.with { plain in
      let tools = SimulatedDumpTools()
      var core = plain.core
      core.dumpTools = tools
      core.schemaTools = SimulatedSchemaTools()
      let installation = Installation(
        core: core, fleet: plain.fleet, tenants: plain.tenants, clock: plain.clock,
        account: plain.account)
      let scene = try await installation.working {
        let past = try await PastScene(installation)
        let scene = DumpScene(past: past, tools: tools, service: DumpService(core: core))
        scene.inherit(["exzodb", "sql only"])
        return scene
      }
      guard isWorking else { return try await body(scene) }
      try await installation.working { try await body(scene) }
    }
  }

  /// What every line holds when it is first opened.
  func inherit(_ databases: [String], closed: Set<String> = []) {
    let (installation, owner) = (past.installation, "exzodb_owner")
    for line in installation.fleet.lines.keys {
      installation.tenants.inherit(
        TenantContents(
          databases: databases.map { .init(name: $0, owner: owner) }, roles: [owner],
          closedDatabases: closed), on: line)
    }
  }

  func create(_ request: API.DumpRequest) async throws -> API.CreatedDumps {
    try await service.create(request, project: project, account: account)
  }

  func get(_ id: String) async throws -> API.Dump {
    try await service.get(DumpID(id), project: project, account: account)
  }

  func main(
    _ databases: API.Selection = .names(["exzodb"]), verify: Bool = false
  ) -> API.DumpRequest {
    API.DumpRequest(branches: .names([past.main.rawValue]), databases: databases, verify: verify)
  }

  func housekeep() async throws { try await DumpHousekeeping(core: core).round() }
}

@Suite(.serialized) struct DumpTests {
  @Test func oneRequestDumpsEveryDatabaseOfEveryBranch() async throws {
    try await DumpScene.with { scene in
      let made = try await scene.create(
        API.DumpRequest(branches: .all, databases: .all, format: .directory, jobs: 4))
      #expect(made.dumps.count == 4)
      #expect(Set(made.dumps.map(\.branchID)).count == 2)
      #expect(made.dumps.allSatisfy { $0.status == .queued && $0.jobs == 4 && $0.manual })
      for end in try await scene.past.installation.end(made.operations) {
        #expect(end.status == .finished && end.kind == "make_dump", "\(end)")
      }
      for dump in made.dumps {
        let done = try await scene.get(dump.id)
        #expect(done.status == .finished && done.sizeBytes ?? 0 > 0 && done.verification == nil)
      }
      // The live computes were not asked to do anything.
      #expect(!scene.tools.calls.contains { $0.hasPrefix("restore") })
      let past = try await scene.create(
        API.DumpRequest(
          branches: .all, databases: .names(["sql only"]),
          timestamp: scene.past.start.addingTimeInterval(61)))
      #expect(past.dumps.map(\.lsn) == ["0/1500100"])
      let list = try await scene.service.list(
        project: scene.project, account: scene.account, page: PageRequest(limit: 2))
      #expect(list.dumps.count == 2 && list.next != nil)
    }
  }

  @Test func requestsAreCheckedByField() async throws {
    try await DumpScene.with { scene in
      let main = scene.past.main.rawValue
      var refused: [(API.DumpRequest, ControlPlaneError.Code)] = [
        (API.DumpRequest(branches: .all, databases: .all, lsn: "0/1500080"), .badValue),
        (
          API.DumpRequest(
            branches: .names([main, scene.past.dev.rawValue]), databases: .all, lsn: "0/1500080"),
          .badValue
        ),
        (API.DumpRequest(branches: .names([]), databases: .all), .badValue),
        (API.DumpRequest(branches: .names(["br-none"]), databases: .all), .branchNotFound),
        (scene.main(.names(["nowhere"])), .databaseNotFound), (scene.main(.names([])), .badValue),
      ]
      var request = scene.main()
      request.jobs = 2
      refused.append((request, .badValue))
      request.format = .directory
      request.jobs = 9
      refused.append((request, .badValue))
      request = scene.main()
      request.lsn = "0/1500080"
      request.timestamp = scene.past.start
      refused.append((request, .restorePointAmbiguous))
      request.lsn = nil
      request.timestamp = scene.past.start.addingTimeInterval(-9_000_000)
      refused.append((request, .restorePointOutOfWindow))
      request = scene.main()
      request.expiresAt = scene.past.start
      refused.append((request, .badValue))
      for (request, code) in refused {
        let found = try await scene.past.installation.refusal {
          _ = try await scene.create(request)
        }
        #expect(found == code, "\(request)")
      }
    }
  }

  @Test func verificationIsKeptWithTheDumpAndScratchComputesGo() async throws {
    try await DumpScene.with { scene in
      let good = try await scene.create(scene.main(verify: true))
      #expect(try await scene.past.installation.end(good.operations)[0].status == .finished)
      let dump = try await scene.get(good.dumps[0].id)
      #expect(dump.verification?.status == .passed && dump.verification?.rows == 10, "\(dump)")
      #expect(dump.verification?.notes.count == 1)
      scene.tools.alterRestores(true)
      let bad = try await scene.create(scene.main(verify: true))
      let end = try await scene.past.installation.end(bad.operations)[0]
      #expect(end.status == .failed && end.error?.contains("9 restored") == true, "\(end)")
      let kept = try await scene.get(bad.dumps[0].id)
      #expect(kept.status == .finished && kept.verification?.status == .failed)
      #expect(kept.verification?.differences.first?.contains("10 rows in the source") == true)
      scene.tools.alterRestores(false)
      let again = try await scene.service.verify(
        DumpID(kept.id), project: scene.project, account: scene.account)
      try await scene.past.installation.end(again.operations)
      #expect(try await scene.get(kept.id).verification?.status == .passed)
      #expect(try await scene.core.catalog.read { try $0.scratchComputes() } == [])
      #expect(scene.tools.calls.filter { $0.hasPrefix("remove_history") }.count == 3)
      let counts = try await scene.core.catalog.read { try $0.troubledDumpCounts() }
      #expect(counts == (0, 0))
    }
  }

  @Test func failuresAreRetriedThenToldAndLeaveNothing() async throws {
    try await DumpScene.with { scene in
      let away = DumpError("keep a dump: the store is away", isTemporary: true)
      scene.tools.fail("make", with: [away])
      let once = try await scene.create(scene.main())
      // Time stands still here: let the pause go by.
      let mover = Task {
        while !Task.isCancelled {
          scene.past.installation.clock.advance(1)
          try await Task.sleep(for: .milliseconds(20))
        }
      }
      defer { mover.cancel() }
      let end = try await scene.past.installation.end(once.operations)[0]
      #expect(end.status == .finished && end.failuresCount == 1)
      scene.tools.fail("make", with: [DumpError("dump database 'exzodb': permission denied")])
      let bad = try await scene.create(scene.main())
      #expect(try await scene.past.installation.end(bad.operations)[0].status == .failed)
      let dump = try await scene.get(bad.dumps[0].id)
      #expect(dump.status == .failed && dump.error?.contains("permission denied") == true)
      #expect(
        try await scene.past.installation.refusal {
          _ = try await scene.service.download(
            DumpID(dump.id), project: scene.project, account: scene.account)
        } == .dumpNotReady)
      try await scene.housekeep()
      #expect(scene.tools.calls.contains("remove \(dump.id)"))
      let kept = scene.tools.kept
      #expect(kept == [once.dumps[0].id])
      // Deleted: twice is once, and the objects go.
      for _ in 0..<2 {
        _ = try await scene.service.delete(
          DumpID(once.dumps[0].id), project: scene.project, account: scene.account)
      }
      try await scene.housekeep()
      #expect(scene.tools.kept == [])
      #expect(
        try await scene.past.installation.refusal {
          _ = try await scene.service.delete(
            DumpID("dump-none"), project: scene.project, account: scene.account)
        } == .dumpNotFound)
      var expiring = scene.main()
      expiring.expiresAt = scene.past.installation.clock.now.addingTimeInterval(1000)
      let short = try await scene.create(expiring)
      try await scene.past.installation.end(short.operations)
      scene.past.installation.clock.advance(1001)
      try await scene.housekeep()
      #expect(scene.tools.kept == [])
    }
  }

  @Test func dumpsThatCannotBeRemovedHoldUpNoOthers() async throws {
    try await DumpScene.with { scene in
      var ids: [String] = []
      for _ in 0..<22 {
        let made = try await scene.create(scene.main())
        try await scene.past.installation.end(made.operations)
        ids.append(made.dumps[0].id)
        scene.past.installation.clock.advance(1)
      }
      for id in ids {
        _ = try await scene.service.delete(
          DumpID(id), project: scene.project, account: scene.account)
      }
      // A round's worth.
      for id in ids.prefix(20) { scene.tools.fail("remove \(id)", with: [DumpError("busy")]) }
      let housekeeping = DumpHousekeeping(core: scene.core)
      for kept in [ids, Array(ids.prefix(20)), []] {
        try await housekeeping.round()
        #expect(scene.tools.kept == Set(kept))
      }
    }
  }

  @Test func longWorkHoldsUpNothingAndEndsWhenItsDumpIsDeleted() async throws {
    try await DumpScene.with { scene in
      scene.tools.hold(true)
      let made = try await scene.create(API.DumpRequest(branches: .all, databases: .all))
      // Two at a time, and other work goes on meanwhile.
      let project = try await scene.past.installation.newProject()
      try await scene.past.installation.end(project.operations)
      while scene.tools.calls.count(where: { $0.hasPrefix("make") }) < 2 {
        try await Task.sleep(for: .milliseconds(5))
      }
      let running = made.dumps.indices.prefix(2)
      for index in running {
        let dump = try await scene.get(made.dumps[index].id)
        #expect(dump.status == .running && dump.finishedAt == nil)
      }
      #expect(try await scene.get(made.dumps[3].id).status == .queued)
      for index in [0, 3] {
        let gone = try await scene.service.delete(
          DumpID(made.dumps[index].id), project: scene.project, account: scene.account)
        #expect(gone.dump.status == .cancelled)
      }
      let first = try await scene.past.installation.end([made.operations[0]])[0]
      #expect(first.status == .cancelled, "\(first)")
      scene.tools.hold(false)
      let ends = try await scene.past.installation.end(made.operations).map(\.status)
      #expect(ends == [.cancelled, .finished, .finished, .cancelled])
      try await scene.housekeep()
      #expect(scene.tools.kept == [made.dumps[1].id, made.dumps[2].id])
    }
  }

  @Test func schedulesDumpAllDatabasesVerifiedAndFailuresStayDue() async throws {
    try await DumpScene.with { scene in
      let core = scene.core
      let schedules = ScheduleService(core: core, kinds: [.snapshot, .dump])
      try await schedules.set(
        API.BackupSchedule(schedule: [
          .init(frequency: .daily, hour: 3, retentionSeconds: 86_400, kind: .dump)
        ]), branch: scene.past.main, project: scene.project, account: scene.account)
      let scheduler = BackupScheduler(core: core, actions: [.dump: DumpBackup(core: core)])
      func item() async throws -> API.BackupScheduleItem {
        try await schedules.get(
          branch: scene.past.main, project: scene.project, account: scene.account
        ).schedule[0]
      }
      func dumps() async throws -> [API.Dump] {
        try await scene.service.list(
          project: scene.project, account: scene.account, page: PageRequest(limit: 100)
        ).dumps
      }
      func settle() async throws {
        for dump in try await dumps() {
          _ = try await OperationService(core: core).end(of: OperationID(dump.operationID))
        }
      }
      let due = try #require(try await item().nextRunAt)
      scene.past.installation.clock.advance(due.timeIntervalSince(core.clock.now) + 1)
      scene.tools.fail("make", with: [DumpError("no room")])
      try await scheduler.round()
      try await settle()
      let first = try await dumps()
      #expect(
        first.count == 2 && first.allSatisfy { !$0.manual && $0.verify && $0.expiresAt != nil })
      var now = try await item()
      #expect(now.lastRunStatus == .failed && now.lastRunError == "no room", "\(now)")
      #expect(now.nextRunAt == due && now.retryAt != nil)
      // Not before the pause is over.
      try await scheduler.round()
      #expect(try await dumps().count == 2)
      scene.past.installation.clock.advance(61)
      try await scheduler.round()
      try await settle()
      // The other one has its dump.
      #expect(try await dumps().count == 3)
      now = try await item()
      #expect(now.lastRunStatus == .finished && now.nextRunAt.map { $0 > due } == true, "\(now)")
    }
  }

  @Test func dumpsAndTablesComeBackThroughOperations() async throws {
    try await DumpScene.with { scene in
      let made = try await scene.create(scene.main())
      try await scene.past.installation.end(made.operations)
      let id = DumpID(made.dumps[0].id)
      // Into a branch without a compute: one is started for it, and stopped.
      let restored = try await scene.service.restore(
        id, API.DumpRestoreRequest(branchID: scene.past.dev.rawValue, database: "copy"),
        project: scene.project, account: scene.account)
      let end = try await scene.past.installation.end(restored.operations)[0]
      #expect(end.status == .finished && end.notes?.count == 1, "\(end)")
      let (core, dev) = (scene.core, scene.past.dev)
      let copy = try await core.catalog.read { try $0.database("copy", of: dev) }
      #expect(copy?.isDropped == false)
      #expect(await core.fleet.running().count == 1)
      let recovered = try await scene.service.recover(
        API.RecoverTableRequest(
          database: "exzodb", table: "public.orders", lsn: "0/1500100", newName: "then"),
        branch: scene.past.main, project: scene.project, account: scene.account)
      let table = try await scene.past.installation.end(recovered.operations)[0]
      #expect(table.status == .finished && table.notes == ["10 rows are in 'then'"], "\(table)")
      #expect(try await core.catalog.read { try $0.scratchComputes() } == [])
      let database = try await scene.service.recover(
        API.RecoverDatabaseRequest(database: "sql only", lsn: "0/1500100", newName: "back"),
        branch: scene.past.main, project: scene.project, account: scene.account)
      #expect(database.operations.map(\.kind) == ["make_dump", "restore_dump"])
      for end in try await scene.past.installation.end(database.operations) {
        #expect(end.status == .finished, "\(end)")
      }
      let refused: [(API.RecoverTableRequest, ControlPlaneError.Code)] = [
        (.init(database: "exzodb", table: "t"), .badValue),
        (.init(database: "exzodb", table: "", lsn: "0/1500100"), .badValue),
        (.init(database: "exzodb", table: "t", lsn: "0/1500100", condition: ""), .badValue),
        (.init(database: "exzodb", table: "t", lsn: "0/9"), .restorePointOutOfWindow),
      ]
      for (request, code) in refused {
        let found = try await scene.past.installation.refusal {
          _ = try await scene.service.recover(
            request, branch: scene.past.main, project: scene.project, account: scene.account)
        }
        #expect(found == code, "\(request)")
      }
    }
  }

  @Test(.timeLimit(.minutes(1))) func clientsConnectWhileATableIsBroughtBack() async throws {
    try await DumpScene.with { scene in
      let (installation, endpoint) = (scene.past.installation, scene.past.endpoint.rawValue)
      let directory = EndpointDirectory(core: scene.core)
      let before = try await directory.wake(endpoint)
      scene.tools.hold(true)
      func recover() async throws -> API.Operation {
        try await scene.service.recover(
          API.RecoverTableRequest(
            database: "exzodb", table: "public.orders", lsn: "0/1500100", newName: "then"),
          branch: scene.past.main, project: scene.project, account: scene.account
        ).operations[0]
      }
      let recovery = try await recover()
      #expect(try await directory.wake(endpoint).computeID == before.computeID)
      let now = try await scene.core.catalog.read { try $0.operation(OperationID(recovery.id)) }
      #expect(now?.isFinal == false)
      while !scene.tools.calls.contains(where: { $0.hasPrefix("recover ") }) {
        try await Task.sleep(for: .milliseconds(5))
      }
      // Its failure is none of theirs, whether they came before or after.
      scene.tools.fail("recover", with: [DumpError("the table is gone")])
      scene.tools.hold(false)
      _ = try await installation.end([recovery])
      let failing = try await recover()
      #expect(try await directory.wake(endpoint).computeID == before.computeID)
      #expect(try await installation.end([failing])[0].status == .failed)
    }
  }
}
