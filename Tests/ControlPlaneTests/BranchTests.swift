import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct BranchTests {
  @Test func momentsAreResolvedCheckedAndPinned() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let account = installation.account.id
      let created = try await installation.newProject()
      let project = ProjectID(created.project.id)
      let service = BranchService(core: core)
      func branch(_ new: API.NewBranch) async throws -> API.CreatedBranch {
        let made = try await service.create(
          API.BranchCreateRequest(branch: new), project: project, account: account)
        try await installation.end(made.operations)
        return made
      }
      func code(_ new: API.NewBranch) async throws -> ControlPlaneError.Code? {
        try await installation.refusal { _ = try await branch(new) }
      }
      // Nothing has run yet: the project's own operation stands in the way.
      #expect(try await code(API.NewBranch()) == .operationInProgress)
      try await installation.working {
        try await installation.end(created.operations)
        let line = try #require(installation.fleet.lines.keys.first)
        installation.clock.advance(60)
        installation.fleet.write(0x1000, to: line)

        let head = try await branch(API.NewBranch(name: "dev"))
        #expect(head.branch.parentLSN == "0/1501000")
        #expect(head.connectionURIs == nil)
        let past = try await branch(API.NewBranch(parentLSN: "0/01500800"))
        #expect(past.branch.parentLSN == "0/1500800")
        // A branch that nobody opened is its parent at one LSN, also as a parent itself.
        let grandchild = try await branch(API.NewBranch(parentID: past.branch.id))
        #expect(grandchild.branch.parentLSN == "0/1500800")
        #expect(
          try await code(API.NewBranch(parentID: past.branch.id, parentLSN: "0/1500000"))
            == .restorePointOutOfWindow)
        #expect(try await code(API.NewBranch(name: "dev")) == .branchAlreadyExists)
        #expect(
          try await code(
            API.NewBranch(parentLSN: "0/1500800", parentTimestamp: installation.clock.now))
            == .restorePointAmbiguous)
        #expect(try await code(API.NewBranch(parentLSN: "0/9")) == .restorePointOutOfWindow)
        #expect(try await code(API.NewBranch(parentLSN: "x")) == .badValue)
        let now = installation.clock.now
        for time in [now.addingTimeInterval(1), now.addingTimeInterval(-61)] {
          #expect(try await code(API.NewBranch(parentTimestamp: time)) == .restorePointOutOfWindow)
        }
        #expect(try await code(API.NewBranch(parentID: "br-none")) == .branchNotFound)

        let delete = { (id: String) in
          try await installation.refusal {
            _ = try await service.delete(BranchID(id), project: project, account: account)
          }
        }
        #expect(try await delete(created.branch.id) == .branchIsDefault)
        #expect(try await delete(past.branch.id) == .branchHasChildren)
        _ = try await service.update(
          BranchID(grandchild.branch.id), API.BranchUpdate(isProtected: true), project: project,
          account: account)
        #expect(try await delete(grandchild.branch.id) == .branchIsProtected)
        #expect(try await delete(head.branch.id) == nil)
        #expect(try await delete(head.branch.id) == nil)
        #expect(try await delete("br-none") == .branchNotFound)
        // The name is free again.
        #expect(try await code(API.NewBranch(name: "dev")) == nil)

        let shown = try await service.get(
          BranchID(created.branch.id), project: project, account: account
        ).branch
        #expect(shown.restoreWindow?.earliestLSN == "0/1500000")
        #expect(shown.restoreWindow?.latestTimestamp == installation.clock.now)
      }
      // What belongs to another account does not exist.
      let stranger = AccountID("00000000-0000-4000-8000-000000000000")
      #expect(
        try await installation.refusal {
          _ = try await service.get(
            BranchID(created.branch.id), project: project, account: stranger)
        } == .projectNotFound)
    }
  }

  @Test func settingsThatCannotBeHonouredAreRefusedByName() async throws {
    try await Installation.with { installation in
      let refused: [(API.NewProject, ControlPlaneError.Code)] = [
        (API.NewProject(pgVersion: 17), .badValue),
        (API.NewProject(regionID: "mars"), .badValue),
        (API.NewProject(historyRetentionSeconds: -1), .badValue),
        (API.NewProject(historyRetentionSeconds: 2_592_001), .badValue),
        (API.NewProject(autoscalingLimitMinCU: 0.1), .badValue),
        (API.NewProject(autoscalingLimitMinCU: 2, autoscalingLimitMaxCU: 1), .badValue),
        (API.NewProject(name: ""), .badValue),
        (API.NewProject(branch: API.NewProjectBranch(roleName: "pg_x")), .badValue),
        (API.NewProject(branch: API.NewProjectBranch(databaseName: "postgres")), .badValue),
        (API.NewProject(settings: API.ProjectSettings(hipaa: true)), .settingNotSupported),
        (
          API.NewProject(settings: API.ProjectSettings(allowedIPs: API.AllowedIPs(ips: ["::x"]))),
          .badValue
        ),
        (
          API.NewProject(
            defaultEndpointSettings: API.DefaultEndpointSettings(pgSettings: ["fsync": "off"])),
          .settingNotSupported
        ),
      ]
      for (request, code) in refused {
        #expect(
          try await installation.refusal { _ = try await installation.newProject(request) } == code,
          "\(request)")
      }
      let made = try await installation.newProject(
        API.NewProject(
          branch: API.NewProjectBranch(roleName: "o'wner \"x\"", databaseName: "my db")))
      #expect(
        made.connectionURIs[0].connectionURI.contains("postgresql://o%27wner%20%22x%22:"),
        "\(made.connectionURIs[0].connectionURI)")
      #expect(made.connectionURIs[0].connectionURI.contains("/my%20db?sslmode=require&options="))
      #expect(made.operations.contains { $0.endpointID == made.endpoints[0].id })
    }
  }
}
