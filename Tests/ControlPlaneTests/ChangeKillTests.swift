import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

/// What users change about a project that runs, the engine thrown away at every boundary of every step.
@Suite(.serialized) struct ChangeKillTests {
  @Test func changesComeToTheSameEndWhereverServeDies() async throws {
    try await Installation.with { plain in
      var core = plain.core
      core.schemaTools = SimulatedSchemaTools()
      let installation = Installation(
        core: core, fleet: plain.fleet, tenants: plain.tenants, clock: plain.clock,
        account: plain.account)
      var boundary = 0
      var wasReached = true
      while wasReached {
        wasReached = try await installation.diesAt(boundary) {
          try await Story(installation).run(boundary)
        }
        if wasReached { boundary += 1 }
      }
      #expect(boundary > 30, "there are more steps than these: \(boundary)")
    }
  }

  private struct Story {
    let installation: Installation
    let project: ProjectID
    let main: BranchID
    let endpoint: EndpointID
    private let created: API.CreatedProject
    private var core: Core { installation.core }
    private var account: AccountID { installation.account.id }

    init(_ installation: Installation) async throws {
      self.installation = installation
      created = try await installation.newProject()
      project = ProjectID(created.project.id)
      main = BranchID(created.branch.id)
      endpoint = EndpointID(created.endpoints[0].id)
    }

    /// Computes of endpoints that read; moments that are read stay open for a while.
    private var replicas: [String] {
      installation.fleet.readings.keys.filter { $0.hasPrefix("ro-") }
    }

    private func finish(_ operations: [API.Operation], _ boundary: Int) async throws {
      let ended = try await installation.end(operations)
      #expect(ended.allSatisfy { $0.status == .finished }, "boundary \(boundary): \(ended)")
    }

    func run(_ boundary: Int) async throws {
      try await finish(created.operations, boundary)
      try await tenants(boundary)
      try await endpoints(boundary)
      try await branches(boundary)
      _ = try await ProjectService(core: core).delete(project, account: account)
      let last = try await core.catalog.read { tx in
        try tx.operations(of: project, PageRequest(limit: 1)).elements
      }
      let ended = try await OperationService(core: core).end(of: last[0].id)
      #expect(ended?.status == .finished, "boundary \(boundary)")
      #expect(await installation.fleet.running().isEmpty)
      #expect(replicas.isEmpty)
      // So that the moments that were read do not add up to more than may be open.
      installation.clock.advance(60)
      try await core.reading.endIdle(core)
    }

    /// Databases and roles, as the server has them afterwards.
    private func tenants(_ boundary: Int) async throws {
      let roles = RoleService(core: core)
      let databases = DatabaseService(core: core)
      try await finish(
        try await roles.create(
          API.NewRole(name: "app"), branch: main, project: project, account: account
        ).operations, boundary)
      for name in ["kept", "dropped"] {
        try await finish(
          try await databases.create(
            API.NewDatabase(name: name, ownerName: "app"), branch: main, project: project,
            account: account
          ).operations, boundary)
      }
      try await finish(
        try await databases.update(
          "kept", API.DatabaseUpdate(name: "renamed"), branch: main, project: project,
          account: account
        ).operations, boundary)
      try await finish(
        try await databases.delete("dropped", branch: main, project: project, account: account)
          .operations, boundary)
      try await finish(
        try await roles.resetPassword("app", branch: main, project: project, account: account)
          .operations, boundary)
      let row = try await core.catalog.read { try $0.branch(main) }
      let line = try #require(row).lineID.rawValue
      let held = try #require(installation.tenants[line])
      #expect(held.databases.map(\.name).sorted() == ["exzodb", "renamed"], "boundary \(boundary)")
    }

    private func endpoints(_ boundary: Int) async throws {
      let service = EndpointService(core: core)
      let settings = API.EndpointSettings(pgSettings: ["work_mem": "\(4 + boundary % 60)MB"])
      try await finish(
        try await service.update(
          endpoint, API.EndpointUpdate(settings: settings), project: project, account: account
        ).operations, boundary)
      let reader = try await service.create(
        API.NewEndpoint(branchID: main.rawValue, type: .readOnly), project: project,
        account: account)
      try await finish(reader.operations, boundary)
      #expect(replicas.count == 1, "boundary \(boundary)")
      try await finish(
        try await service.delete(
          EndpointID(reader.endpoint.id), project: project, account: account
        ).operations, boundary)
      #expect(replicas.isEmpty, "boundary \(boundary)")
    }

    private func branches(_ boundary: Int) async throws {
      let service = BranchService(core: core)
      let twin = try await service.create(
        API.BranchCreateRequest(branch: API.NewBranch(initSource: "schema-only")),
        project: project, account: account)
      try await finish(twin.operations, boundary)
      let dev = try await service.create(
        API.BranchCreateRequest(), project: project, account: account)
      try await finish(dev.operations, boundary)
      let moved = try await EndpointService(core: core).update(
        endpoint, API.EndpointUpdate(branchID: dev.branch.id), project: project, account: account)
      try await finish(moved.operations, boundary)
      let line = try await core.catalog.read { try $0.branch(BranchID(dev.branch.id))?.lineID }
      #expect(
        await installation.fleet.running().map(\.lineID) == [line?.rawValue], "boundary \(boundary)"
      )
      try await finish(
        try await service.delete(BranchID(twin.branch.id), project: project, account: account)
          .operations, boundary)
    }
  }
}
