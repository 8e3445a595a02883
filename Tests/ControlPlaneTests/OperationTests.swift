import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct OperationTests {
  /// Every boundary of every step of a project's life, the engine thrown away at each.
  @Test func operationsComeToTheSameEndWhereverServeDies() async throws {
    try await Installation.with { installation in
      var boundary = 0
      var wasReached = true
      while wasReached {
        wasReached = try await installation.diesAt(boundary) { try await story(installation) }
        boundary += 1
      }
      // Project and branch creation, two starts, suspend, restart, roles, and deletions: no fewer
      // steps than these.
      #expect(boundary > 30)
    }
  }

  private func story(_ installation: Installation) async throws {
    let core = installation.core
    let account = installation.account.id
    let created = try await installation.newProject()
    let project = ProjectID(created.project.id)
    let endpoint = EndpointID(created.endpoints[0].id)
    let first = try await installation.end(created.operations)
    #expect(first.allSatisfy { $0.status == .finished }, "\(first)")
    var shown = try await EndpointService(core: core).get(
      endpoint, project: project, account: account)
    #expect(shown.currentState == .active)
    #expect(shown.pendingState == nil)

    let branch = try await BranchService(core: core).create(
      API.BranchCreateRequest(endpoints: [API.BranchEndpointOptions(type: .readWrite)]),
      project: project, account: account)
    let second = try await installation.end(branch.operations)
    #expect(second.allSatisfy { $0.status == .finished }, "\(second)")

    let role = try await RoleService(core: core).create(
      API.NewRole(name: "app"), branch: BranchID(created.branch.id), project: project,
      account: account)
    try await installation.end(role.operations)
    let line = try await core.catalog.read { tx in
      try tx.branch(BranchID(created.branch.id))?.lineID.rawValue
    }
    #expect(installation.tenants[try #require(line)]?.roles.sorted() == ["app", "exzodb_owner"])

    let service = EndpointService(core: core)
    try await installation.end(
      try await service.suspend(endpoint, project: project, account: account).operations)
    shown = try await service.get(endpoint, project: project, account: account)
    #expect(shown.currentState == .idle)
    try await installation.end(
      try await service.restart(endpoint, project: project, account: account).operations)

    let gone = try await BranchService(core: core).delete(
      BranchID(branch.branch.id), project: project, account: account)
    try await installation.end(gone.operations)
    _ = try await ProjectService(core: core).delete(project, account: account)
    let last = try await core.catalog.read { tx in
      try tx.operations(of: project, PageRequest(limit: 1)).elements
    }
    let ended = try await OperationService(core: core).end(of: last[0].id)
    #expect(ended?.status == .finished)
    #expect(await installation.fleet.running().isEmpty)
  }

  @Test func temporaryFailuresAreRetriedAndOthersEndWithTheirReason() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let account = installation.account.id
      let busy = ComputeFleetError(.temporary, "no room")
      installation.fleet.fail("start", with: [busy])
      let created = try await installation.newProject()
      let task = Task { try await installation.engine().run() }
      defer { task.cancel() }
      // The retry waits on the injected clock.
      while try await OperationService(core: core).get(
        OperationID(created.operations[1].id), project: ProjectID(created.project.id),
        account: account
      ).failuresCount == 0 { await Task.yield() }
      installation.clock.advance(1)
      let ended = try await installation.end(created.operations)
      #expect(ended.map(\.status) == [.finished, .finished])
      #expect(ended[1].failuresCount == 1)

      installation.fleet.fail(
        "createRoot", with: [ComputeFleetError(.damaged, "layer 'x' is damaged")])
      let broken = try await installation.newProject()
      let outcome = try await installation.end(broken.operations)
      #expect(outcome.map(\.status) == [.failed, .skipped])
      #expect(outcome[0].error == "layer 'x' is damaged")
      let endpoint = try await EndpointService(core: core).get(
        EndpointID(broken.endpoints[0].id), project: ProjectID(broken.project.id), account: account)
      #expect(endpoint.currentState == .idle)
      #expect(endpoint.pendingState == nil)
    }
  }

  @Test func theNextStartTakesAwayWhatAnEndpointsDeletionLeftRunning() async throws {
    try await Installation.with { installation in
      let endpoints = EndpointService(core: installation.core)
      let (scene, replica) = try await installation.working {
        let scene = try await PastScene(installation)
        let made = try await endpoints.create(
          API.NewEndpoint(branchID: scene.main.rawValue, type: .readOnly),
          project: scene.project, account: scene.account)
        try await installation.end(made.operations)
        let damage = ComputeFleetError(.damaged, "it does not answer")
        installation.fleet.fail("suspend", with: [damage])
        installation.fleet.fail("closeReading", with: [damage])
        for id in [EndpointID(made.endpoint.id), scene.endpoint] {
          let gone = try await endpoints.delete(
            id, project: scene.project, account: scene.account)
          #expect(try await installation.end(gone.operations).map(\.status) == [.failed])
        }
        return (scene, ReplicaComputes.id(of: EndpointID(made.endpoint.id)))
      }
      #expect(await installation.fleet.running().contains { $0.lineID == scene.line })
      #expect(installation.fleet.readings[replica] != nil)
      try await installation.working {
        while let operation = try await installation.core.catalog.read({
          try $0.unfinishedOperations().first
        }) { _ = try await OperationService(core: installation.core).end(of: operation.id) }
        for _ in 0..<500 {
          let runs = await installation.fleet.running().contains { $0.lineID == scene.line }
          if !runs, installation.fleet.readings[replica] == nil { break }
          try await Task.sleep(for: .milliseconds(10))
        }
      }
      #expect(installation.fleet.readings[replica] == nil)
      #expect(await !installation.fleet.running().contains { $0.lineID == scene.line })
    }
  }

  @Test func aDeletionIsNotGivenUpWhileTheStoreIsAway() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let away = ComputeFleetError(.temporary, "its last WAL is not in the object store yet")
      installation.fleet.fail("destroy", with: Array(repeating: away, count: 12))
      let branch = try await deletedBranch(installation)
      // Two engines, one after the other, as when serve is started again meanwhile.
      for enough in [7, Int.max] {
        try await installation.working {
          while let operation = try await core.catalog.read({ try $0.operation(branch.deletion) }),
            !operation.isFinal, operation.failuresCount < enough
          {
            installation.clock.advance(300)
            core.added.fire()
            try await Task.sleep(for: .milliseconds(10))
          }
        }
      }
      let ended = try await core.catalog.read { try $0.operation(branch.deletion) }
      #expect(ended?.status == .finished)
      #expect((ended?.failuresCount ?? 0) >= 7)
      #expect(try await computes(of: branch, core).isEmpty)
      #expect(await installation.fleet.running().count == 1)
    }
  }

  @Test func whatADeletionThatFailedLeftIsTakenAwayAtTheNextStart() async throws {
    try await Installation.with { installation in
      let core = installation.core
      installation.fleet.fail("destroy", with: [ComputeFleetError(.permanent, "no permission")])
      let branch = try await deletedBranch(installation)
      try await installation.working {
        let ended = try await OperationService(core: core).end(of: branch.deletion)
        #expect(ended?.status == .failed)
        #expect(try await computes(of: branch, core).count == 1)
      }
      let deadline = ContinuousClock.now + .seconds(20)
      try await installation.working {
        while try await !computes(of: branch, core).isEmpty, ContinuousClock.now < deadline {
          try await Task.sleep(for: .milliseconds(10))
        }
      }
      #expect(try await computes(of: branch, core).isEmpty)
      #expect(await installation.fleet.running().count == 1)
    }
  }

  private struct DeletedBranch {
    var project: ProjectID
    var id: BranchID
    var deletion: OperationID
  }

  /// A branch whose compute ran and which was deleted just now; nothing has worked on that yet.
  private func deletedBranch(_ installation: Installation) async throws -> DeletedBranch {
    let service = BranchService(core: installation.core)
    let account = installation.account.id
    let created = try await installation.newProject()
    let project = ProjectID(created.project.id)
    let branch = try await installation.working {
      try await installation.end(created.operations)
      let branch = try await service.create(
        API.BranchCreateRequest(endpoints: [API.BranchEndpointOptions(type: .readWrite)]),
        project: project, account: account)
      try await installation.end(branch.operations)
      return BranchID(branch.branch.id)
    }
    let gone = try await service.delete(branch, project: project, account: account)
    return DeletedBranch(
      project: project, id: branch, deletion: OperationID(gone.operations[0].id))
  }

  private func computes(of branch: DeletedBranch, _ core: Core) async throws -> [ComputeRecord] {
    try await core.catalog.read {
      try $0.computes(project: branch.project, branch: branch.id, endpoint: nil)
    }
  }

  @Test func wakingJoinsAStartAndACrashedComputeIsStartedAgain() async throws {
    try await Installation.with { installation in
      let created = try await installation.newProject()
      let directory = EndpointDirectory(core: installation.core)
      let endpoint = created.endpoints[0].id
      try await installation.working {
        try await installation.end(created.operations)
        installation.fleet.crash()
        let computes = try await withThrowingTaskGroup(of: RunningCompute.self) { group in
          for _ in 0..<20 { group.addTask { try await directory.wake(endpoint) } }
          return try await group.reduce(into: Set<RunningCompute>()) { $0.insert($1) }
        }
        #expect(computes.count == 1)
        #expect(installation.fleet.calls.count { $0.hasPrefix("start") } == 2)
      }
      let known = try await directory.authentication(target: endpoint, role: "exzodb_owner")
      #expect(known?.scramVerifier.hasPrefix("SCRAM-SHA-256$4096:") == true)
      #expect(try await directory.authentication(target: endpoint, role: "nobody") == nil)
      #expect(try await directory.authentication(target: "ep-x", role: "exzodb_owner") == nil)
      let byBranch = try await directory.authentication(
        target: created.branch.id, role: "exzodb_owner")
      #expect(byBranch?.endpointID == endpoint)

      // A compute that had ended cleanly: the next engine finds nothing running, and nothing to bring in.
      let compute = try #require(await installation.fleet.running().first)
      try await installation.fleet.suspend(computeID: compute.computeID)
      try await Self.wait(for: endpoint, of: created, installation) {
        $0.currentState == .idle && $0.pendingState == nil
      }
      #expect(installation.fleet.calls.count { $0.hasPrefix("start") } == 2)
    }
  }

  /// Commits that an accident left on this disk only are brought in by nobody's connecting.
  @Test func whatRanWhenTheMachineWasSwitchedOffRunsAgain() async throws {
    try await Installation.with { installation in
      let created = try await installation.newProject()
      let endpoint = created.endpoints[0].id
      let fleet = installation.fleet
      _ = try await installation.working { try await installation.end(created.operations) }
      fleet.crash()
      try await Self.wait(for: endpoint, of: created, installation) {
        $0.currentState == .active && fleet.calls.count { $0.hasPrefix("start ") } == 2
      }
      // An idle one is not started: it is suspended once more, which stores them.
      fleet.crash()
      try await installation.core.catalog.write { tx in
        let row = try #require(try tx.endpoint(EndpointID(endpoint)))
        try OperationSteps.setIdle(row, tx, at: installation.clock.now)
      }
      let core = installation.core
      let housekeeping = Housekeeping(core: core, directory: EndpointDirectory(core: core))
      // The first try fails; the next comes a minute later.
      fleet.fail("suspend", with: [ComputeFleetError(.permanent, "it is stuck")])
      for suspensions in [1, 2] {
        try await housekeeping.round()
        try await housekeeping.round()
        try await Self.wait(for: endpoint, of: created, installation) {
          $0.currentState == .idle && $0.pendingState == nil
            && fleet.calls.count { $0.hasPrefix("suspend") } == suspensions
        }
        installation.clock.advance(61)
      }
      try await housekeeping.round()
      #expect(fleet.calls.count { $0.hasPrefix("suspend") } == 2)
      #expect(fleet.calls.count { $0.hasPrefix("start ") } == 2)
    }
  }

  private static func wait(
    for endpoint: String, of created: API.CreatedProject, _ installation: Installation,
    until isMet: (API.Endpoint) -> Bool
  ) async throws {
    try await installation.working {
      for _ in 0..<3000 {
        let shown = try await EndpointService(core: installation.core).get(
          EndpointID(endpoint), project: ProjectID(created.project.id),
          account: installation.account.id)
        if isMet(shown) { return }
        try await Task.sleep(for: .milliseconds(10))
      }
      Issue.record("the endpoint did not become as expected")
    }
  }

  @Test func idleEndpointsAreSuspendedUsedOnesAreNotAndBranchesExpire() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let account = installation.account.id
      let directory = EndpointDirectory(core: core)
      let housekeeping = Housekeeping(core: core, directory: directory)
      let idle = try await installation.newProject()
      let used = try await installation.newProject()
      let project = ProjectID(idle.project.id)
      try await installation.working {
        try await installation.end(idle.operations + used.operations)
        let branch = try await BranchService(core: core).create(
          API.BranchCreateRequest(
            branch: API.NewBranch(expiresAt: installation.clock.now.addingTimeInterval(100))),
          project: project, account: account)
        try await installation.end(branch.operations)
        directory.sessionOpened(endpointID: used.endpoints[0].id)
        directory.record(transfer: 1000, endpointID: used.endpoints[0].id, kind: "query")
        installation.clock.advance(299)
        try await housekeeping.round()
        #expect(
          try await BranchService(core: core).count(project: project, account: account, search: nil)
            == 1)
        #expect(try await core.catalog.read { try $0.endpoints(in: .active) }.count == 2)
        installation.clock.advance(2)
        try await housekeeping.round()
        let operations = try await OperationService(core: core).list(
          project: project, account: account, page: PageRequest(limit: 1)
        ).operations
        #expect(operations[0].kind == "suspend_compute")
        try await installation.end(operations)
        let active = try await core.catalog.read { try $0.endpoints(in: .active) }
        #expect(active.map(\.id.rawValue) == [used.endpoints[0].id])
        let shown = try await ProjectService(core: core).get(
          ProjectID(used.project.id), account: account)
        #expect(shown.dataTransferBytes == 1000)
      }
    }
  }
}
