import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

/// A project whose main branch has a past: three commits, a minute apart, and a child.
struct PastScene: Sendable {
  let installation: Installation
  let project: ProjectID
  let main: BranchID
  let endpoint: EndpointID
  let line: String
  let start: Date
  let dev: BranchID

  var core: Core { installation.core }
  var account: AccountID { installation.account.id }
  var branches: BranchService { BranchService(core: core) }

  /// Needs an engine that works.
  init(_ installation: Installation) async throws {
    self.installation = installation
    let created = try await installation.newProject()
    try await installation.end(created.operations)
    project = ProjectID(created.project.id)
    main = BranchID(created.branch.id)
    endpoint = EndpointID(created.endpoints[0].id)
    let (core, main, account) = (installation.core, main, installation.account.id)
    line = try #require(
      try await core.catalog.read { try $0.branch(main)?.lineID.rawValue })
    start = installation.clock.now
    for _ in 0..<3 {
      installation.clock.advance(60)
      installation.fleet.write(0x100, to: line)
    }
    let child = try await BranchService(core: core).create(
      API.BranchCreateRequest(branch: API.NewBranch(name: "dev")), project: project,
      account: account)
    try await installation.end(child.operations)
    dev = BranchID(child.branch.id)
  }

  func restore(
    _ branch: BranchID? = nil, from source: BranchID? = nil, lsn: String? = nil,
    time: Date? = nil, preserve: String? = nil, force: Bool? = nil
  ) async throws -> [API.Operation] {
    let id = branch ?? main
    let answer = try await branches.restore(
      id,
      API.BranchRestoreRequest(
        sourceBranchID: (source ?? id).rawValue, sourceLSN: lsn, sourceTimestamp: time,
        preserveUnderName: preserve, force: force), project: project, account: account)
    return try await installation.end(answer.operations)
  }

  func row(_ id: BranchID) async throws -> BranchRecord {
    try #require(try await core.catalog.read { try $0.anyBranch(id) })
  }

  func row(named name: String) async throws -> BranchRecord {
    let project = project
    let found = try await core.catalog.read { tx in try tx.branch(named: name, of: project) }
    return try #require(found)
  }

  /// Where a moment of a branch leads.
  func resolve(_ branch: BranchID, _ moment: MomentRequest) async throws -> ResolvedMoment {
    let resolver = try await core.catalog.read { tx in
      try MomentResolver(
        core, try core.project(tx, project, of: account), try core.branch(tx, branch, of: project),
        tx)
    }
    return try await resolver.resolve(moment)
  }

  /// The endpoint leads to a compute on its branch's line, and that runs where the endpoint is
  /// active: what must hold between any two steps.
  func checkEndpoint() async throws {
    let (state, branchLine, compute) = try await core.catalog.read { tx in
      let endpoint = try #require(try tx.endpoint(endpoint))
      return (
        endpoint.state, try #require(try tx.branch(endpoint.branchID)).lineID,
        try #require(try tx.compute(of: endpoint.id))
      )
    }
    #expect(compute.lineID == branchLine)
    let runs = await installation.fleet.running().contains { $0.computeID == compute.id.rawValue }
    if state == .active { #expect(runs, "an active endpoint leads to a compute that is down") }
  }
}

@Suite(.serialized) struct RestoreTests {
  /// Until its first compute starts a line is what it began as, and that stays so.
  @Test func timesBeforeALinesFirstComputeOpenAlsoOnceItHasStarted() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let (core, id) = (installation.core, try await scene.row(scene.dev).lineID)
        let began = try #require(try await core.catalog.read { try $0.line(id) }).createdAt
        installation.clock.advance(60)
        let asleep = installation.clock.now
        let before = try await scene.resolve(scene.dev, .time(asleep))
        installation.clock.advance(60)
        let made = try await EndpointService(core: core).create(
          API.NewEndpoint(branchID: scene.dev.rawValue, type: .readWrite),
          project: scene.project, account: scene.account)
        try await installation.end(made.operations)
        installation.fleet.write(0x100, to: id.rawValue)
        installation.clock.advance(60)
        for time in [began, asleep] {
          let after = try await scene.resolve(scene.dev, .time(time))
          #expect(after.lsn == before.lsn, "\(time)")
        }
        let shown = try await scene.branches.get(
          scene.dev, project: scene.project, account: scene.account)
        #expect(shown.branch.restoreWindow?.earliestTimestamp == began)
        let late = try await scene.resolve(scene.dev, .time(installation.clock.now))
        #expect(late.lsn == before.lsn + 0x100)
        await #expect(throws: ControlPlaneError.self) {
          _ = try await scene.resolve(scene.dev, .time(began.addingTimeInterval(-1)))
        }
      }
    }
  }

  @Test func theBranchTakesAPastStateAndTheFormerOneIsKept() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let target = scene.start.addingTimeInterval(90)
        let ended = try await scene.restore(time: target, preserve: "old")
        #expect(ended.map(\.status) == [.finished, .finished], "\(ended)")
        #expect(ended[0].kind == "restore_branch" && ended[0].endpointID == scene.endpoint.rawValue)

        let (main, old) = (try await scene.row(scene.main), try await scene.row(named: "old"))
        #expect(old.lineID.rawValue == scene.line)
        #expect(main.lineID != old.lineID)
        let restored = try #require(installation.fleet.lines[main.lineID.rawValue])
        #expect(restored.parent == scene.line)
        #expect(restored.start == LSN(0x150_0100))
        #expect(try await scene.row(scene.dev).parentID == old.id)
        #expect(installation.tenants.disconnected == [scene.line])
        try await scene.checkEndpoint()
        // One compute runs: the former one was stopped.
        #expect(await installation.fleet.running().map(\.lineID) == [main.lineID.rawValue])

        // Before the restore, times mean the source's line, never later than the target.
        installation.clock.advance(60)
        installation.fleet.write(0x1000, to: main.lineID.rawValue)
        installation.clock.advance(60)
        let early = try await scene.resolve(
          scene.main, .time(scene.start.addingTimeInterval(30)))
        #expect(early.lsn == LSN(0x150_0000) && early.lineID == scene.line)
        for seconds in [90.0, 120, 170, 180] {
          let between = try await scene.resolve(
            scene.main, .time(scene.start.addingTimeInterval(seconds)))
          #expect(between.lsn == LSN(0x150_0100), "\(seconds)")
        }
        let late = try await scene.resolve(scene.main, .time(installation.clock.now))
        #expect(late.lineID == main.lineID.rawValue && late.lsn == LSN(0x150_1100))
        #expect(try await scene.resolve(scene.main, .lsn(LSN(0x150_0080))).lineID == scene.line)
        #expect(
          try await scene.resolve(scene.main, .lsn(LSN(0x150_0180))).lineID
            == main.lineID.rawValue)
        let window = try await scene.branches.get(
          scene.main, project: scene.project, account: scene.account
        ).branch.restoreWindow
        #expect(window?.earliestLSN == "0/1500000")
        #expect(window?.latestLSN == "0/1501100")

        // The former state can be deleted; its children go back.
        let gone = try await scene.branches.delete(
          old.id, project: scene.project, account: scene.account)
        try await installation.end(gone.operations)
        #expect(try await scene.row(scene.dev).parentID == scene.main)
        #expect(try await scene.row(scene.dev).lineID == scene.row(scene.dev).lineID)
      }
    }
  }

  @Test func withoutANameTheFormerStateCanBeRecovered() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let before = try await scene.row(scene.dev).lineID
        // Never opened, so the branch point is the state that is given up.
        let ended = try await scene.restore(scene.dev, from: scene.main, lsn: "0/1500180")
        #expect(ended.map(\.status) == [.finished, .finished], "\(ended)")
        let after = try await scene.row(scene.dev)
        #expect(after.lastResetAt != nil && after.parentLSN == LSN(0x150_0180))
        let list = try await scene.branches.list(
          project: scene.project, account: scene.account, search: "dev until",
          includesDeleted: true,
          by: .name, page: PageRequest(limit: 10))
        let former = try #require(list.branches.first)
        #expect(former.recovery != nil)
        let back = try await scene.branches.recover(
          BranchID(former.id), project: scene.project, account: scene.account)
        #expect(try await scene.row(BranchID(back.branch.id)).lineID == before)
        // Reset from the parent: no moment.
        let reset = try await scene.restore(scene.dev, from: scene.main)
        #expect(reset.map(\.status) == [.finished, .finished])
        #expect(try await scene.row(scene.dev).parentLSN == LSN(0x150_0300))
      }
    }
  }

  @Test func aDamagedBranchKeepsNoOtherBranchOfADeletedProjectAway() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let projects = ProjectService(core: scene.core)
        let made = try await scene.branches.create(
          API.BranchCreateRequest(
            endpoints: [API.BranchEndpointOptions(type: .readWrite)],
            branch: API.NewBranch(name: "broken")), project: scene.project,
          account: scene.account)
        try await installation.end(made.operations)
        let broken = BranchID(made.branch.id)
        let line = try await scene.row(broken).lineID
        try await installation.end(
          try await projects.delete(scene.project, account: scene.account).operations)
        installation.fleet.forget(line: line.rawValue)
        // A store that is away for a while is no damage: all of it waits.
        installation.fleet.fail("resolve", with: [ComputeFleetError(.temporary, "away")])
        await #expect(throws: ComputeFleetError.self) {
          _ = try await projects.recover(scene.project, account: scene.account)
        }
        let back = try await projects.recover(scene.project, account: scene.account)
        #expect(Set(back.branches.map(\.name)) == ["main", "dev", "broken"])
        #expect(back.damagedBranches?.map(\.name) == ["broken"])
        #expect(back.damagedBranches?.first?.reason.contains(line.rawValue) == true)
        #expect(try await scene.row(broken).lineID == line)
        #expect(try await scene.row(scene.main).lineID.rawValue != scene.line)
        _ = try await EndpointDirectory(core: scene.core).wake(scene.endpoint.rawValue)
      }
    }
  }

  @Test func whatCannotBeRestoredIsRefusedByName() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        func code(_ body: () async throws -> [API.Operation]) async throws
          -> ControlPlaneError.Code?
        {
          try await installation.refusal { _ = try await body() }
        }
        #expect(try await code { try await scene.restore(preserve: "x") } == .badValue)
        #expect(try await code { try await scene.restore(lsn: "0/1500100") } == .badValue)
        #expect(
          try await code { try await scene.restore(lsn: "0/1500100", preserve: "dev") }
            == .branchAlreadyExists)
        #expect(
          try await code { try await scene.restore(lsn: "0/9", preserve: "x") }
            == .restorePointOutOfWindow)
        #expect(
          try await code {
            try await scene.restore(lsn: "0/1500100", time: scene.start, preserve: "x")
          } == .restorePointAmbiguous)
        #expect(
          try await code { try await scene.restore(from: BranchID("br-none"), preserve: "x") }
            == .branchNotFound)
        _ = try await scene.branches.update(
          scene.main, API.BranchUpdate(isProtected: true), project: scene.project,
          account: scene.account)
        #expect(
          try await code { try await scene.restore(lsn: "0/1500100", preserve: "x") }
            == .branchIsProtected)
        let forced = try await scene.restore(lsn: "0/1500100", preserve: "x", force: true)
        #expect(forced.map(\.status) == [.finished, .finished])
        // Once more, of what the restore made.
        let again = try await scene.restore(
          lsn: "0/1500080", preserve: "y", force: true)
        #expect(again.map(\.status) == [.finished, .finished])
        #expect(try await scene.resolve(scene.main, .head).lsn == LSN(0x150_0080))
      }
    }
  }

  @Test func aRestoreThatFailsLeavesTheOldState() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        installation.fleet.fail(
          "start", with: [ComputeFleetError(.damaged, "layer 'x' is damaged")])
        let ended = try await scene.restore(lsn: "0/1500100", preserve: "old")
        #expect(ended.map(\.status) == [.failed, .skipped])
        #expect(ended[0].error == "layer 'x' is damaged")
        let main = try await scene.row(scene.main)
        #expect(main.lineID.rawValue == scene.line)
        try await scene.checkEndpoint()
        #expect(await installation.fleet.running().map(\.lineID) == [scene.line])
        let directory = EndpointDirectory(core: installation.core)
        #expect(try await directory.wake(scene.endpoint.rawValue).lineID == scene.line)
        let again = try await scene.restore(lsn: "0/1500100", preserve: "old")
        #expect(again.map(\.status) == [.finished, .finished], "\(again)")
      }
    }
  }

  /// The branch has its new state by then: nothing goes on in the former one.
  @Test(.timeLimit(.minutes(1)), arguments: ["old", nil])
  func aRestoreThatFailsAfterTheMoveEndsTheFormerCompute(preserve: String?) async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        if preserve == nil {
          let gone = try await scene.branches.delete(
            scene.dev, project: scene.project, account: scene.account)
          try await installation.end(gone.operations)
        }
        installation.tenants.failApplying(
          with: [ComputeFleetError(.damaged, "there is no such collation")])
        let ended = try await scene.restore(lsn: "0/1500100", preserve: preserve)
        #expect(ended.map(\.status) == [.failed, .skipped], "\(ended)")
        let main = try await scene.row(scene.main)
        #expect(main.lineID.rawValue != scene.line)
        while await installation.fleet.running().map(\.lineID) != [main.lineID.rawValue] {
          try await Task.sleep(for: .milliseconds(5))
        }
        try await scene.checkEndpoint()
        if let preserve {
          #expect(try await scene.row(named: preserve).lineID.rawValue == scene.line)
        }
      }
    }
  }

  @Test func anEndpointThatSleepsOpensTheRestoredStateWhenItWakes() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        try await installation.end(
          try await EndpointService(core: installation.core).suspend(
            scene.endpoint, project: scene.project, account: scene.account
          ).operations)
        let ended = try await scene.restore(lsn: "0/1500100", preserve: "old")
        #expect(ended.map(\.status) == [.finished, .finished], "\(ended)")
        #expect(await installation.fleet.running().isEmpty)
        let main = try await scene.row(scene.main)
        let directory = EndpointDirectory(core: installation.core)
        let compute = try await directory.wake(scene.endpoint.rawValue)
        #expect(compute.lineID == main.lineID.rawValue)
        #expect(installation.fleet.lines[compute.lineID]?.start == LSN(0x150_0100))
      }
    }
  }

  /// The engine thrown away at every boundary: the endpoint leads to one whole state each time, and
  /// in the end to the new one.
  @Test func restoresComeToTheSameEndWhereverServeDies() async throws {
    try await Installation.with { installation in
      for boundary in 0..<40 {
        guard try await restore(installation, diesAt: boundary) else {
          #expect(boundary >= 16, "a restore and a finalized snapshot have more steps")
          return
        }
      }
      Issue.record("more boundaries than there are steps")
    }
  }

  private func restore(_ installation: Installation, diesAt boundary: Int) async throws -> Bool {
    let scene = try await installation.working { try await PastScene(installation) }
    return try await installation.diesAt(boundary, check: scene.checkEndpoint) {
      try await restore(scene, installation, boundary)
    }
  }

  private func restore(
    _ scene: PastScene, _ installation: Installation, _ boundary: Int
  ) async throws {
    let ended = try await scene.restore(lsn: "0/1500100", preserve: "old")
    #expect(ended.map(\.status) == [.finished, .finished], "boundary \(boundary): \(ended)")
    try await scene.checkEndpoint()
    let main = try await scene.row(scene.main)
    #expect(installation.fleet.lines[main.lineID.rawValue]?.start == LSN(0x150_0100))
    #expect(try await scene.row(scene.dev).parentID == scene.row(named: "old").id)

    let snapshots = SnapshotService(core: installation.core)
    let snapshot = try await snapshots.create(
      SnapshotService.Request(), branch: scene.dev, project: scene.project, account: scene.account)
    let restored = try await snapshots.restore(
      SnapshotID(snapshot.snapshot.id),
      API.SnapshotRestoreRequest(targetBranchID: scene.main.rawValue, finalizeRestore: true),
      project: scene.project, account: scene.account)
    let finalized = try await installation.end(restored.operations)
    #expect(finalized.allSatisfy { $0.status == .finished }, "boundary \(boundary): \(finalized)")
    try await scene.checkEndpoint()
    #expect(try await scene.row(named: "main").id.rawValue == restored.branch.id)
    let shown = try await ProjectService(core: installation.core).delete(
      scene.project, account: scene.account)
    #expect(shown.project.id == scene.project.rawValue)
  }
}
