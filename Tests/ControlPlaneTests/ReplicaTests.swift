import APITypes
import Catalog
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

/// `read_only` endpoints, on simulated computes.
@Suite(.serialized) struct ReplicaTests {
  private struct Scene {
    let past: PastScene
    var core: Core { past.core }
    var installation: Installation { past.installation }
    var endpoints: EndpointService { EndpointService(core: core) }
    var rounds: Housekeeping {
      Housekeeping(core: core, directory: EndpointDirectory(core: core))
    }

    init(_ installation: Installation) async throws {
      past = try await PastScene(installation)
    }

    func replica(of branch: BranchID? = nil, disabled: Bool = false) async throws -> EndpointID {
      let made = try await endpoints.create(
        API.NewEndpoint(
          branchID: (branch ?? past.main).rawValue, type: .readOnly, isDisabled: disabled),
        project: past.project, account: past.account)
      let ended = try await installation.end(made.operations)
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
      return EndpointID(made.endpoint.id)
    }

    func reading(_ endpoint: EndpointID) -> ReadingRequest? {
      installation.fleet.readings[ReplicaComputes.id(of: endpoint)]
    }

    func rows() async throws -> [ReadingComputeRecord] {
      try await core.catalog.read { try $0.readingComputes() }
    }

    func state(_ endpoint: EndpointID) async throws -> API.EndpointState? {
      try await core.catalog.read { try $0.endpoint(endpoint)?.state }
    }

    /// Waits for operations that housekeeping started.
    func settle() async throws {
      let project = past.project
      while let operation = try await core.catalog.read({
        try $0.unfinishedOperations().first { $0.projectID == project }
      }) {
        _ = try await OperationService(core: core).end(of: operation.id)
      }
    }
  }

  private func withScene(_ body: (Scene) async throws -> Void) async throws {
    try await Installation.with { installation in
      try await installation.working { try await body(try await Scene(installation)) }
    }
  }

  @Test func aReplicaIsOpenedAtTheHeadFollowsAndLeavesNothingWhenItSleeps() async throws {
    try await withScene { scene in
      let id = try await scene.replica()
      let reading = try #require(scene.reading(id))
      #expect(reading.lineID == scene.past.line && reading.followsLine == scene.past.line)
      #expect(reading.lsn == scene.installation.fleet.lines[scene.past.line]?.head)
      #expect(try await scene.state(id) == .active)
      // History that it reads is kept for it.
      let promises = try await RetentionService(core: scene.core).promises()
      let kept = try #require(promises.first { $0.lineID == scene.past.line })
      #expect(kept.readings.map(\.lsn) == [reading.lsn])

      let woken = try await EndpointDirectory(core: scene.core).wake(id.rawValue)
      #expect(woken.isReplica && woken.computeID == id.rawValue)
      let login = try await EndpointDirectory(core: scene.core).authentication(
        target: id.rawValue, role: "exzodb_owner")
      #expect(login?.endpointID == id.rawValue)

      let slept = try await scene.endpoints.suspend(
        id, project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(slept.operations)
      #expect(scene.reading(id) == nil)
      #expect(try await scene.rows().isEmpty)
      // The branch's own compute knows nothing of it.
      try await scene.past.checkEndpoint()
      scene.installation.fleet.write(0x40, to: scene.past.line)
      _ = try await EndpointDirectory(core: scene.core).wake(id.rawValue)
      #expect(scene.reading(id)?.lsn == reading.lsn + 0x40)
    }
  }

  @Test func aBranchHasOneEndpointThatWritesAndEightThatRead() async throws {
    try await withScene { scene in
      for _ in 0..<8 { _ = try await scene.replica(disabled: true) }
      let ninth = try await scene.installation.refusal { _ = try await scene.replica() }
      #expect(ninth == .limitReached)
      let second = try await scene.installation.refusal {
        _ = try await scene.endpoints.create(
          API.NewEndpoint(branchID: scene.past.main.rawValue, type: .readWrite),
          project: scene.past.project, account: scene.past.account)
      }
      #expect(second == .endpointAlreadyExists)
      let twice = try await scene.installation.refusal {
        _ = try await scene.past.branches.create(
          API.BranchCreateRequest(endpoints: [.init(type: .readWrite), .init(type: .readWrite)]),
          project: scene.past.project, account: scene.past.account)
      }
      #expect(twice == .endpointAlreadyExists)
      let moved = try await scene.installation.refusal {
        let other = try await scene.replica(of: scene.past.dev)
        _ = try await scene.endpoints.update(
          other, API.EndpointUpdate(branchID: scene.past.main.rawValue),
          project: scene.past.project, account: scene.past.account)
      }
      #expect(moved == .limitReached)
    }
  }

  @Test func aBranchIsMadeWithBothAndTheReplicaFollowsItsOwnLine() async throws {
    try await withScene { scene in
      let made = try await scene.past.branches.create(
        API.BranchCreateRequest(endpoints: [
          .init(type: .readOnly), .init(type: .readWrite), .init(type: .readOnly),
        ]), project: scene.past.project, account: scene.past.account)
      let ended = try await scene.installation.end(made.operations)
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
      #expect(made.endpoints.map(\.type) == [.readWrite, .readOnly, .readOnly])
      #expect(made.connectionURIs?.count == 3)
      let line = try await scene.past.row(BranchID(made.branch.id)).lineID.rawValue
      for endpoint in made.endpoints.dropFirst() {
        #expect(scene.reading(EndpointID(endpoint.id))?.followsLine == line)
      }
    }
  }

  @Test func aReplicaOfABranchThatNeverRanReadsItsMomentAndFollowsOnceItRuns() async throws {
    try await withScene { scene in
      let id = try await scene.replica(of: scene.past.dev)
      let reading = try #require(scene.reading(id))
      #expect(reading.lineID == scene.past.line && reading.followsLine == nil)
      try await scene.rounds.round()
      try await scene.settle()
      #expect(scene.reading(id) == reading)
      let primary = try await scene.endpoints.create(
        API.NewEndpoint(branchID: scene.past.dev.rawValue, type: .readWrite),
        project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(primary.operations)
      try await scene.rounds.round()
      try await scene.settle()
      let line = try await scene.past.row(scene.past.dev).lineID.rawValue
      #expect(scene.reading(id)?.lineID == line && scene.reading(id)?.followsLine == line)
    }
  }

  @Test func restoreInPlaceTakesTheReplicasAlong() async throws {
    try await withScene { scene in
      let (id, sleeping) = (try await scene.replica(), try await scene.replica(disabled: true))
      let ended = try await scene.past.restore(
        time: scene.past.start.addingTimeInterval(90), preserve: "old")
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
      let line = try await scene.past.row(scene.past.main).lineID.rawValue
      #expect(line != scene.past.line)
      #expect(scene.reading(id)?.followsLine == line)
      #expect(scene.reading(sleeping) == nil)
      #expect(try await scene.state(id) == .active)
      try await scene.past.checkEndpoint()
      // Deleting the former state leaves it alone.
      let gone = try await scene.past.branches.delete(
        try await scene.past.row(named: "old").id, project: scene.past.project,
        account: scene.past.account)
      try await scene.installation.end(gone.operations)
      #expect(scene.reading(id) != nil)
    }
  }

  @Test func aReplicaOfASleepingBranchShowsTheRestoredStateAndFollowsNoOther() async throws {
    try await withScene { scene in
      let id = try await scene.replica()
      let slept = try await scene.endpoints.suspend(
        scene.past.endpoint, project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(slept.operations)
      let ended = try await scene.past.restore(lsn: "0/1500100", preserve: "old")
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
      let reading = try #require(scene.reading(id))
      #expect(reading.lineID == scene.past.line && reading.lsn == LSN("0/1500100"))
      #expect(reading.followsLine == nil)
      // A round finds it right, and after the branch has woken it follows that.
      try await scene.rounds.round()
      try await scene.settle()
      #expect(scene.reading(id) == reading)
      _ = try await EndpointDirectory(core: scene.core).wake(scene.past.endpoint.rawValue)
      try await scene.rounds.round()
      try await scene.settle()
      let line = try await scene.past.row(scene.past.main).lineID.rawValue
      #expect(scene.reading(id)?.followsLine == line)
    }
  }

  @Test func oneThatEndedIsOpenedAnewAndOneThatIsIdleSleeps() async throws {
    try await withScene { scene in
      let id = try await scene.replica()
      scene.installation.fleet.crash(id.rawValue)
      try await scene.rounds.round()
      try await scene.settle()
      #expect(await scene.installation.fleet.running().contains { $0.computeID == id.rawValue })
      #expect(try await scene.state(id) == .active)
      scene.installation.clock.advance(301)
      try await scene.rounds.round()
      try await scene.settle()
      #expect(try await scene.state(id) == .idle)
      #expect(try await scene.rows().isEmpty)
    }
  }

  @Test func deletionsTakeItAlong() async throws {
    try await withScene { scene in
      let (first, second) = (try await scene.replica(), try await scene.replica())
      let third = try await scene.replica(of: scene.past.dev)
      let gone = try await scene.endpoints.delete(
        first, project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(gone.operations)
      #expect(scene.reading(first) == nil && scene.reading(second) != nil)
      let branch = try await scene.past.branches.delete(
        scene.past.dev, project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(branch.operations)
      #expect(scene.reading(third) == nil && scene.reading(second) != nil)
      // Back with its branch, asleep, and wakes.
      _ = try await scene.past.branches.recover(
        scene.past.dev, project: scene.past.project, account: scene.past.account)
      #expect(try await scene.state(third) == .idle)
      _ = try await EndpointDirectory(core: scene.core).wake(third.rawValue)
      #expect(scene.reading(third) != nil)
      _ = try await ProjectService(core: scene.core).delete(
        scene.past.project, account: scene.past.account)
      try await scene.settle()
      #expect(scene.installation.fleet.readings.isEmpty)
      #expect(try await scene.rows().isEmpty)
    }
  }

  @Test func aMovedReplicaFollowsTheOtherBranch() async throws {
    try await withScene { scene in
      let id = try await scene.replica(of: scene.past.dev)
      let moved = try await scene.endpoints.update(
        id, API.EndpointUpdate(branchID: scene.past.main.rawValue), project: scene.past.project,
        account: scene.past.account)
      #expect(moved.endpoint.branchID == scene.past.main.rawValue)
      try await scene.installation.end(moved.operations)
      #expect(scene.reading(id)?.followsLine == scene.past.line)
      #expect(try await scene.rows().map(\.branchID) == [scene.past.main])
    }
  }

  @Test func itsTimeIsCountedAndItsServerAllowsNoLessThanTheBranchs() async throws {
    try await withScene { scene in
      let larger = try await scene.endpoints.update(
        scene.past.endpoint,
        API.EndpointUpdate(settings: API.EndpointSettings(pgSettings: ["max_connections": "250"])),
        project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(larger.operations)
      let id = try await scene.replica()
      let settings = try #require(scene.reading(id)?.settings)
      #expect(settings.maxConnections == 250 && settings.parameters["max_connections"] == nil)
      // What it cannot have is refused; the branch's own server may allow fewer than the standard.
      await #expect(throws: ControlPlaneError.self) {
        try await scene.endpoints.update(
          id,
          API.EndpointUpdate(
            settings: API.EndpointSettings(pgSettings: ["max_connections": "249"])),
          project: scene.past.project, account: scene.past.account)
      }
      let meter = UsageMeter(core: scene.core)
      try await meter.round()
      let start = scene.installation.clock.now
      let before = try await totals(scene, since: start)
      scene.installation.clock.advance(10)
      try await meter.round()
      let after = try await totals(scene, since: start)
      // Of the branch's own compute, and of the replica.
      #expect(after.activeMilliseconds - before.activeMilliseconds == 20_000)
    }
  }

  @Test func itsTimeCountsOnceOverHoursAndRestarts() async throws {
    try await withScene { scene in
      let id = try await scene.replica()
      let begun = scene.installation.clock.now
      try await UsageMeter(core: scene.core).round()
      let before = try await totals(scene, since: begun)
      // Each hour's first round, and each first round of a process, forgets what is gone.
      let meter = UsageMeter(core: scene.core)
      for _ in 0..<3 {
        scene.installation.clock.advance(3600)
        for _ in 0..<2 { try await meter.round() }
        for _ in 0..<2 { try await UsageMeter(core: scene.core).round() }
      }
      let after = try await totals(scene, since: begun)
      #expect(after.activeMilliseconds - before.activeMilliseconds == 2 * 3 * 3_600_000)
      // What is gone is forgotten.
      #expect(try await scene.core.catalog.write { try $0.usageMark(id.rawValue) } != nil)
      let gone = try await scene.endpoints.delete(
        id, project: scene.past.project, account: scene.past.account)
      try await scene.installation.end(gone.operations)
      try await UsageMeter(core: scene.core).round()
      #expect(try await scene.core.catalog.write { try $0.usageMark(id.rawValue) } == nil)
    }
  }

  private func totals(_ scene: Scene, since date: Date) async throws -> UsageTotals {
    let period = BillingPeriod(holding: date).start
    let (project, main) = (scene.past.project, scene.past.main)
    return try await scene.core.catalog.read {
      try $0.usage(of: project, since: period)[main] ?? UsageTotals()
    }
  }
}
