import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Synchronization
import Testing

@testable import ControlPlane

/// What happens by itself, when some of it is slow or fails.
@Suite(.serialized) struct HousekeepingTests {
  /// A backup that never comes to its end.
  private final class EndlessBackup: BackupAction {
    let hasBegun = Mutex(false)

    func prepare(_ run: BackupRun) async throws -> @Sendable (CatalogTransaction) throws -> Void {
      hasBegun.withLock { $0 = true }
      try await Task.sleep(for: .seconds(3600))
      return { _ in }
    }
  }

  private func schedule(_ scene: PastScene) async throws {
    try await ScheduleService(core: scene.core, kinds: [.snapshot]).set(
      API.BackupSchedule(schedule: [.init(frequency: .daily)]), branch: scene.main,
      project: scene.project, account: scene.account)
    scene.installation.clock.advance(86_401)
  }

  private func soon(_ isSo: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<500 {
      if try await isSo() { return true }
      try await Task.sleep(for: .milliseconds(10))
    }
    return false
  }

  @Test func countingWaitsForNoBackup() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      try await schedule(scene)
      let core = installation.core
      let directory = EndpointDirectory(core: core)
      let backup = EndlessBackup()
      let housekeeping = Housekeeping(
        core: core, directory: directory,
        scheduler: BackupScheduler(core: core, actions: [.snapshot: backup]))
      let task = Task { await housekeeping.run(every: .milliseconds(10)) }
      #expect(try await soon { backup.hasBegun.withLock { $0 } })
      directory.record(transfer: 5, endpointID: scene.endpoint.rawValue, kind: "query")
      #expect(
        try await soon { try await core.catalog.read { try $0.transferByKind() } == ["query": 5] })
      // A cancellation ends all of it.
      task.cancel()
      await task.value
    }
  }

  @Test func anEndpointThatIsSuspendedIsActiveNoMore() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let core = installation.core
      for _ in 0..<2 {
        #expect(try await core.activeEndpoints().map(\.id).contains(scene.endpoint))
      }
      try await core.catalog.write { tx in
        let endpoint = try #require(try tx.endpoint(scene.endpoint))
        try OperationSteps.setIdle(endpoint, tx, at: core.clock.now)
      }
      #expect(try await !core.activeEndpoints().map(\.id).contains(scene.endpoint))
    }
  }

  /// When a clock that was ahead is put right, the history of what ended by it would be collected at once.
  @Test func nothingEndsByAClockThatIsDoubted() async throws {
    try await DumpScene.with { scene in
      let (past, core) = (scene.past, scene.core)
      let end = core.clock.now.addingTimeInterval(1000)
      _ = try await SnapshotService(core: core).create(
        SnapshotService.Request(name: "short", expiresAt: end), branch: past.main,
        project: past.project, account: past.account)
      let branch = try await past.branches.create(
        API.BranchCreateRequest(branch: API.NewBranch(name: "short", expiresAt: end)),
        project: past.project, account: past.account)
      var request = scene.main()
      request.expiresAt = end
      let dumps = try await scene.create(request)
      try await past.installation.end(branch.operations + dumps.operations)

      func housekeep() async throws -> [Int] {
        try await Housekeeping(core: core, directory: EndpointDirectory(core: core)).round()
        try await scene.housekeep()
        return [
          try await SnapshotService(core: core).list(
            project: past.project, account: past.account
          ).count,
          try await past.branches.count(
            project: past.project, account: past.account, search: nil),
          scene.tools.kept.count,
          try await core.catalog.read { try $0.leases(after: past.start).count },
        ]
      }
      let before = try await housekeep()
      #expect(before[..<3] == [1, 3, 1] && before[3] > 0)
      core.clockDoubt.follow { true }
      past.installation.clock.advance(43_200)
      #expect(try await housekeep() == before)
      core.clockDoubt.follow { false }
      #expect(try await soon { try await housekeep() == [0, 2, 0, 0] })
    }
  }

  @Test func aStepThatFailsKeepsNoOtherFromBeingDone() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let core = installation.core
      let past = PastSessions(core: core)
      let login = try await past.authentication(
        target: scene.main.rawValue, moment: .lsn("0/1500100"), role: "exzodb_owner")
      _ = try await past.open(try #require(login).key)
      try await schedule(scene)
      let housekeeping = Housekeeping(
        core: core, directory: EndpointDirectory(core: core),
        scheduler: BackupScheduler(
          core: core, actions: [.snapshot: SnapshotBackup(core: core)]))
      let busy = ComputeFleetError(.temporary, "the agent is busy")
      installation.fleet.fail("closeReading", with: [busy, busy])
      try await housekeeping.round()
      #expect(installation.fleet.readings.count == 1)
      let snapshots = try await SnapshotService(core: core).list(
        project: scene.project, account: scene.account)
      #expect(snapshots.count == 1)
      // What could not be ended is ended by the next round.
      try await housekeeping.round()
      #expect(installation.fleet.readings.isEmpty)
    }
  }
}
