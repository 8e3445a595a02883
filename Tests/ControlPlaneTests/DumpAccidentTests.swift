import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// Restores, and what stands in their way.
@Suite(.serialized) struct DumpAccidentTests {
  @Test func aRestoreIsDoneOnceWhereverServeDies() async throws {
    try await DumpScene.with(isWorking: false) { scene in
      let installation = scene.past.installation
      let id = try await installation.working { try await scene.makeDump() }
      // One at a time: what else is under way when the engine dies is done again, as it must be.
      for boundary in 0..<2 {
        let isMet = try await installation.diesAt(boundary) {
          let restored = try await scene.service.restore(
            id,
            API.DumpRestoreRequest(
              branchID: scene.past.dev.rawValue, database: "copy \(boundary)"),
            project: scene.project, account: scene.account)
          try await scene.expectDone(restored.operations, "restore copy \(boundary)")
        }
        let isAlsoMet = try await installation.diesAt(boundary) {
          let recovered = try await scene.service.recover(
            API.RecoverTableRequest(
              database: "exzodb", table: "t\(boundary)", lsn: "0/1500100", newName: "then"),
            branch: scene.past.main, project: scene.project, account: scene.account)
          try await scene.expectDone(recovered.operations, "recover t\(boundary)")
        }
        #expect(isMet && isAlsoMet)
      }
    }
  }

  @Test func aDatabaseThatARestoreMakesIsKnownWithItsOwner() async throws {
    try await DumpScene.with { scene in
      let id = try await scene.makeDump()
      scene.tools.setOwner("somebody else")
      let restored = try await scene.service.restore(
        id,
        API.DumpRestoreRequest(branchID: scene.past.dev.rawValue, database: "copy"),
        project: scene.project, account: scene.account)
      try await scene.past.installation.end(restored.operations)
      let dev = scene.past.dev
      let copy = try await scene.core.catalog.read { try $0.database("copy", of: dev) }
      #expect(copy?.ownerName == "somebody else")
    }
  }

  /// What an attempt may have left goes; nothing is brought back.
  @Test func aRestoreWhoseDumpIsDeletedIsGivenUp() async throws {
    try await DumpScene.with(isWorking: false) { scene in
      let installation = scene.past.installation
      let id = try await installation.working { try await scene.makeDump() }
      let restored = try await scene.service.restore(
        id, API.DumpRestoreRequest(branchID: scene.past.dev.rawValue, database: "copy"),
        project: scene.project, account: scene.account)
      _ = try await scene.service.delete(id, project: scene.project, account: scene.account)
      let ended = try await installation.working {
        try await installation.end(restored.operations)
      }
      #expect(ended.map(\.status) == [.failed])
      #expect(ended[0].error == "restore dump '\(id)': it was deleted")
      #expect(scene.tools.calls.contains("give up copy") && scene.tools.committed == [])
    }
  }

  @Test func aDumpWaitsUntilThereIsRoomForItsMoment() async throws {
    try await DumpScene.with(isWorking: false) { scene in
      let (installation, core) = (scene.past.installation, scene.core)
      let made = try await scene.create(scene.main())
      let past = PastSessions(core: core)
      // Clients take all that the project may have open, the dump's moment too: that is the longest unused.
      installation.clock.advance(2)
      for offset in 0..<ReadingComputes.projectLimit {
        let login = try await past.authentication(
          target: scene.past.main.rawValue, moment: .lsn("0/15000\(10 + offset)"),
          role: "exzodb_owner")
        _ = try await past.open(try #require(login).key)
        installation.clock.advance(2)
      }
      installation.tenants.inUse = Set(installation.fleet.readings.keys)
      let mover = Task {
        while !Task.isCancelled {
          installation.clock.advance(2)
          core.added.fire()
          try await Task.sleep(for: .milliseconds(10))
        }
      }
      defer { mover.cancel() }
      let id = OperationID(made.operations[0].id)
      let end = try await installation.working {
        var failures = 0
        while failures < 6 {
          let now = try #require(try await core.catalog.read { try $0.operation(id) })
          try #require(now.status != .failed && now.status != .finished, "\(now)")
          failures = now.failuresCount
          try await Task.sleep(for: .milliseconds(5))
        }
        installation.tenants.inUse = []
        return try await installation.end(made.operations)[0]
      }
      #expect(end.status == .finished && end.failuresCount >= 6, "\(end)")
      #expect(try await scene.get(made.dumps[0].id).status == .finished)
    }
  }

  @Test func branchesMayBeMoreThanMomentsThatAreOpenAtATime() async throws {
    try await DumpScene.with(isWorking: false) { scene in
      let (installation, core) = (scene.past.installation, scene.core)
      let schedules = ScheduleService(core: core, kinds: [.dump])
      let schedule = API.BackupSchedule(schedule: [.init(frequency: .daily, hour: 3, kind: .dump)])
      let branches = try await installation.working {
        var branches: [BranchID] = []
        for _ in 0..<ReadingComputes.limit + 2 {
          installation.fleet.write(0x10, to: scene.past.line)
          let made = try await scene.past.branches.create(
            API.BranchCreateRequest(), project: scene.project, account: scene.account)
          try await installation.end(made.operations)
          branches.append(BranchID(made.branch.id))
        }
        return branches
      }
      for branch in branches {
        try await schedules.set(
          schedule, branch: branch, project: scene.project, account: scene.account)
      }
      installation.clock.advance(86_401)
      try await BackupScheduler(core: core, actions: [.dump: DumpBackup(core: core)]).round()
      for branch in branches {
        let item = try await schedules.get(
          branch: branch, project: scene.project, account: scene.account
        ).schedule[0]
        #expect(item.lastRunError == nil && item.lastRunStatus != nil, "\(item)")
      }
      #expect(installation.fleet.readings.count == ReadingComputes.projectLimit)
    }
  }

  @Test func aDownloadIsRefusedWhereAllWasSentThatMayBe() async throws {
    try await DumpScene.with { scene in
      let id = try await scene.makeDump()
      let projects = ProjectService(core: scene.core)
      func download() async throws -> ControlPlaneError.Code? {
        try await scene.past.installation.refusal {
          _ = try await scene.service.download(
            id, project: scene.project, account: scene.account)
        }
      }
      func set(_ quota: API.ProjectQuota) async throws {
        _ = try await projects.update(
          scene.project, API.ProjectUpdate(settings: API.ProjectSettings(quota: quota)),
          account: scene.account)
      }
      let directory = EndpointDirectory(core: scene.core)
      directory.record(transfer: 50, branchID: scene.past.dev.rawValue, kind: "time_travel")
      try await directory.flush()
      try await set(API.ProjectQuota(dataTransferBytes: 51))
      #expect(try await download() == nil)
      try await set(API.ProjectQuota(dataTransferBytes: 50))
      #expect(try await download() == .quotaExceeded)
      // A download runs no compute.
      try await set(API.ProjectQuota(activeTimeSeconds: 1, dataTransferBytes: 0))
      scene.past.installation.clock.advance(10)
      try await UsageMeter(core: scene.core).round()
      #expect(try await download() == nil)
    }
  }

  @Test func aBranchThatDoesNotOpenKeepsNoOtherFromBeingDumped() async throws {
    try await DumpScene.with { scene in
      let damaged = ComputeFleetError(.permanent, "open the moment: a layer is damaged")
      scene.past.installation.fleet.fail("resolve", with: [damaged])
      let made = try await scene.create(API.DumpRequest(branches: .all, databases: .all))
      #expect(made.dumps.count == 2 && Set(made.dumps.map(\.branchID)).count == 1)
      #expect(made.failures?.count == 1 && made.failures?[0].error.contains("damaged") == true)
      #expect(made.failures?[0].branchID != made.dumps[0].branchID)
      for end in try await scene.past.installation.end(made.operations) {
        #expect(end.status == .finished, "\(end)")
      }
      // Of branches that are named all is wanted.
      scene.past.installation.fleet.fail("resolve", with: [damaged])
      await #expect(throws: ComputeFleetError.self) { _ = try await scene.create(scene.main()) }
    }
  }
}

extension DumpScene {
  /// Dumps the main branch's database; an engine must be at work.
  fileprivate func makeDump() async throws -> DumpID {
    let made = try await create(main())
    try await past.installation.end(made.operations)
    return DumpID(made.dumps[0].id)
  }

  /// The operations end well, and the tools were called once for them.
  fileprivate func expectDone(_ operations: [API.Operation], _ call: String) async throws {
    for end in try await past.installation.end(operations) {
      #expect(end.status == .finished && end.notes?.count == 1, "\(end)")
    }
    #expect(tools.calls.count { $0 == call } == 1, "\(tools.calls)")
    let subject = call.drop { $0 != " " }.dropFirst()
    #expect(tools.committed.count { $0 == subject } == 1, "\(tools.committed)")
  }
}
