import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// Databases of branches where no client's compute may run.
@Suite(.serialized) struct DatabaseTests {
  /// A branch with a database `d`, whose endpoint is disabled or gone.
  private struct Scene {
    let past: PastScene
    var installation: Installation { past.installation }
    var databases: DatabaseService { DatabaseService(core: past.core) }

    init(_ installation: Installation, hasEndpoint: Bool) async throws {
      past = try await PastScene(installation)
      let endpoints = EndpointService(core: installation.core)
      let answer =
        try await hasEndpoint
        ? endpoints.update(
          past.endpoint, API.EndpointUpdate(isDisabled: true), project: past.project,
          account: past.account)
        : endpoints.delete(past.endpoint, project: past.project, account: past.account)
      try await installation.end(answer.operations)
      try await create()
    }

    func create() async throws {
      try await installation.end(
        try await databases.create(
          API.NewDatabase(name: "d", ownerName: "exzodb_owner"), branch: past.main,
          project: past.project, account: past.account
        ).operations)
    }

    func rename() async throws {
      try await installation.end(
        try await databases.update(
          "exzodb", API.DatabaseUpdate(name: "d"), branch: past.main, project: past.project,
          account: past.account
        ).operations)
    }

    func delete() async throws -> [API.Operation] {
      try await installation.end(
        try await databases.delete(
          "d", branch: past.main, project: past.project, account: past.account
        ).operations)
    }
  }

  @Test(arguments: [true, false])
  func aDeletedDatabasesNameIsFreeAgain(hasEndpoint: Bool) async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await Scene(installation, hasEndpoint: hasEndpoint)
        for _ in 0..<2 {
          #expect(try await scene.delete().map(\.status) == [.finished])
          #expect(await installation.fleet.running().isEmpty)
          try await scene.create()
        }
        #expect(try await scene.delete().map(\.status) == [.finished])
        try await scene.rename()
      }
    }
  }

  /// Deleting it once more tries again; until then its name is refused alike wherever it is wanted.
  @Test(arguments: [true, false])
  func aRemovalThatFailedCanBeTriedAgain(hasEndpoint: Bool) async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await Scene(installation, hasEndpoint: hasEndpoint)
        installation.fleet.fail("start", with: [ComputeFleetError(.permanent, "broken")])
        #expect(try await scene.delete().map(\.status) == [.failed])
        #expect(await installation.fleet.running().isEmpty)
        for attempt in [scene.create, scene.rename] as [() async throws -> Void] {
          #expect(try await installation.refusal(attempt) == .operationInProgress)
        }
        #expect(try await scene.delete().map(\.status) == [.finished])
        #expect(try await scene.delete().isEmpty)
        try await scene.create()
      }
    }
  }
}
