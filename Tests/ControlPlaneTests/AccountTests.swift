import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

@Suite(.serialized) struct AccountTests {
  private func account(
    _ installation: Installation, _ email: String, plan: String? = nil
  ) async throws -> AccountRecord {
    let created = try await AccountAdministration(core: installation.core).create(
      API.NewAccount(name: "x", email: email, plan: plan), by: installation.account)
    let caller = try await AccountService(core: installation.core).authenticate(
      created.apiKey.key, from: "127.0.0.1")
    return try #require(caller).account
  }

  @Test func aDowngradeBelowAProjectsWindowNamesTheProjects() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let admin = AccountAdministration(core: core)
      let owner = try await account(installation, "pro@example.com", plan: "pro")
      let projects = ProjectService(core: core)
      for (name, days) in [("week", 7), ("month", 30), ("fortnight", 14)] {
        try await installation.working {
          let created = try await projects.create(
            API.NewProject(name: name, historyRetentionSeconds: days * 86_400), account: owner.id)
          try await installation.end(created.operations)
        }
      }
      do {
        _ = try await admin.update(
          owner.id, API.AccountUpdate(plan: "free"), by: installation.account)
        Issue.record("downgraded")
      } catch let error as ControlPlaneError {
        #expect(error.code == .planTooSmall)
        #expect(error.message.contains("'month'") && error.message.contains("'fortnight'"))
        #expect(!error.message.contains("'week'"))
      }
      let listed = try await projects.list(
        account: owner.id, search: nil, isDeleted: false, page: PageRequest(limit: 10)
      ).projects
      for project in listed {
        _ = try await projects.update(
          ProjectID(project.id), API.ProjectUpdate(historyRetentionSeconds: 3600),
          account: owner.id)
      }
      let after = try await admin.update(
        owner.id, API.AccountUpdate(plan: "free"), by: installation.account)
      #expect(after.plan == "free")
      // Its projects have the new plan's limits from now on.
      #expect(
        try await installation.refusal {
          _ = try await projects.update(
            ProjectID(listed[0].id), API.ProjectUpdate(historyRetentionSeconds: 604_801),
            account: owner.id)
        } == .badValue)
    }
  }

  /// Deleted projects are not asked when a plan becomes smaller, so they are when they come back.
  @Test func aRecoveredProjectHasThePlanThatItsOwnerHasNow() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let admin = AccountAdministration(core: core)
      let projects = ProjectService(core: core)
      let owner = try await account(installation, "pro@example.com", plan: "pro")
      func recover(_ id: ProjectID) async throws -> ControlPlaneError.Code? {
        try await installation.refusal { _ = try await projects.recover(id, account: owner.id) }
      }
      func plan(_ id: ProjectID) async throws -> String? {
        try await core.catalog.read { tx in
          try tx.project(id).flatMap { $0.deletedAt == nil ? $0.plan : nil }
        }
      }
      func put(on plan: String) async throws {
        _ = try await admin.update(
          owner.id, API.AccountUpdate(plan: plan), by: installation.account)
      }
      try await installation.working {
        var ids: [ProjectID] = []
        for days in [30, 1] {
          let created = try await projects.create(
            API.NewProject(name: "days \(days)", historyRetentionSeconds: days * 86_400),
            account: owner.id)
          try await installation.end(created.operations)
          let id = ProjectID(created.project.id)
          try await installation.end(
            try await projects.delete(id, account: owner.id).operations)
          ids.append(id)
        }
        try await put(on: "free")
        #expect(try await recover(ids[0]) == .planTooSmall)
        #expect(try await recover(ids[1]) == nil)
        #expect(try await plan(ids[0]) == nil)
        #expect(try await plan(ids[1]) == "free")
        try await put(on: "pro")
        #expect(try await recover(ids[0]) == nil)
        #expect(try await plan(ids[0]) == "pro")
      }
    }
  }

  @Test func onlyTheOperatorAdministers() async throws {
    try await Installation.with { installation in
      let admin = AccountAdministration(core: installation.core)
      let owner = try await account(installation, "a@example.com")
      let other = try await account(installation, "b@example.com")
      func refusal(_ body: () async throws -> Void) async throws -> ControlPlaneError.Code? {
        try await installation.refusal(body)
      }
      #expect(
        try await refusal {
          _ = try await admin.create(API.NewAccount(name: "n", email: "c@d"), by: owner)
        } == .routeNotFound)
      #expect(
        try await refusal { _ = try await admin.account(other.id, by: owner) } == .accountNotFound)
      #expect(try await admin.account(owner.id, by: owner).email == "a@example.com")
      #expect(
        try await refusal {
          _ = try await admin.update(owner.id, API.AccountUpdate(plan: "pro"), by: owner)
        } == .accountNotFound)
      #expect(try await admin.plans(by: owner).map(\.name) == ["free"])
      #expect(
        try await refusal {
          _ = try await admin.create(
            API.NewAccount(name: "n", email: "A@Example.com"), by: installation.account)
        } == .accountAlreadyExists)
      for email in ["", "x", "@", "a@", "a b@c", "a@b@c", "a@\u{0}"] {
        #expect(
          try await refusal {
            _ = try await admin.create(
              API.NewAccount(name: "n", email: email), by: installation.account)
          } == .badValue, "\(email)")
      }
    }
  }

  @Test func aSharedProjectCanBeUsedButNotOwned() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let (projects, permissions) = (ProjectService(core: core), PermissionService(core: core))
      let owner = try await account(installation, "owner@example.com")
      let friend = try await account(installation, "friend@example.com")
      let project = ProjectID(
        try await projects.create(API.NewProject(name: "p"), account: owner.id).project.id)
      func sees() async throws -> ControlPlaneError.Code? {
        try await installation.refusal { _ = try await projects.get(project, account: friend.id) }
      }
      #expect(try await sees() == .projectNotFound)
      let grant = try await permissions.grant(
        "Friend@Example.com", project: project, account: owner.id)
      #expect(
        try await permissions.grant("friend@example.com", project: project, account: owner.id)
          == grant)
      #expect(try await sees() == nil)
      let shared = try await permissions.sharedProjects(
        account: friend.id, search: nil, page: PageRequest(limit: 10)
      ).projects
      #expect(shared.map(\.id) == [project.rawValue])
      #expect(shared[0].effectiveProjectPermission == .canEdit)
      #expect(
        try await projects.list(
          account: friend.id, search: nil, isDeleted: false, page: PageRequest(limit: 10)
        ).projects.isEmpty)
      for body in [
        { _ = try await projects.delete(project, account: friend.id) },
        { _ = try await permissions.grant("x@y", project: project, account: friend.id) },
        { _ = try await permissions.revoke(grant.id, project: project, account: friend.id) },
      ] as [() async throws -> Void] {
        #expect(try await installation.refusal(body) == .projectNotFound)
      }
      let revoked = try await permissions.revoke(
        API.PermissionRevokeRequest(email: "friend@example.com"), project: project,
        account: owner.id)
      #expect(revoked.revokedAt != nil)
      #expect(
        try await permissions.revoke(grant.id, project: project, account: owner.id) == revoked)
      #expect(try await sees() == .projectNotFound)
    }
  }

  /// Those that it is too late for take no place on its pages.
  @Test func theListOfRecoverableProjectsHoldsNoOthers() async throws {
    try await Installation.with { installation in
      let projects = ProjectService(core: installation.core)
      let account = installation.account.id
      try await installation.working {
        var made: [ProjectID] = []
        for name in ["recoverable", "late", "later"] {
          let created = try await installation.newProject(API.NewProject(name: name))
          try await installation.end(created.operations)
          made.append(ProjectID(created.project.id))
          installation.clock.advance(60)
        }
        for late in made[1...] {
          try await installation.end(
            try await projects.delete(late, account: account).operations)
        }
        installation.clock.advance(604_800)
        try await installation.end(
          try await projects.delete(made[0], account: account).operations)
        let page = try await projects.list(
          account: account, search: nil, isDeleted: true, page: PageRequest(limit: 2))
        #expect(page.projects.map(\.name) == ["recoverable"])
        #expect(page.next == nil)
      }
    }
  }

  @Test func addressRulesAreBlocksRangesAndSingles() throws {
    let rules = try AddressRules([
      "10.0.0.0/8", "192.168.1.5", "172.16.0.9-172.16.1.2", "2001:db8::/32", "::1",
    ])
    for inside in [
      "10.0.0.0", "10.255.255.255", "192.168.1.5", "172.16.0.9", "172.16.1.2", "172.16.0.255",
      "2001:db8:ffff::1", "::1", "::ffff:10.1.2.3",
    ] { #expect(rules.allow(inside), "\(inside)") }
    for outside in [
      "9.255.255.255", "11.0.0.0", "192.168.1.4", "172.16.0.8", "172.16.1.3", "2001:db9::", "::2",
      "::", "nonsense", "",
    ] { #expect(!rules.allow(outside), "\(outside)") }
    #expect(try AddressRules(["0.0.0.0/0"]).allow("255.255.255.255"))
    #expect(try !AddressRules(["0.0.0.0/0"]).allow("::1"))
    #expect(try AddressRules(["::/0"]).allow("::1"))
    for bad in ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.2-10.0.0.1", "1.1.1.1-::1", "x/8"] {
      #expect(throws: ControlPlaneError.self, "\(bad)") { try AddressRules([bad]) }
    }
  }

  @Test func anEndpointMovesWithItsNameAndBothBranchesKeepTheirVolumes() async throws {
    try await Installation.with { installation in
      let core = installation.core
      let account = installation.account.id
      try await installation.working {
        let created = try await installation.newProject()
        try await installation.end(created.operations)
        let project = ProjectID(created.project.id)
        let branch = try await BranchService(core: core).create(
          API.BranchCreateRequest(), project: project, account: account)
        try await installation.end(branch.operations)
        let endpoint = EndpointID(created.endpoints[0].id)
        let service = EndpointService(core: core)
        for target in [branch.branch.id, created.branch.id, branch.branch.id] {
          let moved = try await service.update(
            endpoint, API.EndpointUpdate(branchID: target), project: project, account: account)
          #expect(moved.endpoint.branchID == target)
          #expect(moved.endpoint.id == endpoint.rawValue)
          for operation in try await installation.end(moved.operations) {
            #expect(operation.status == .finished, "\(operation.error ?? "")")
          }
          let running = await installation.fleet.running()
          #expect(running.count == 1)
          let line = try await core.catalog.read { try $0.branch(BranchID(target))?.lineID }
          #expect(running[0].lineID == line?.rawValue)
        }
        // Two volumes for two branches, however often it moved.
        let started = installation.fleet.calls.filter { $0.hasPrefix("start ") }
        #expect(Set(started).count == 2)
        #expect(!installation.fleet.calls.contains { $0.hasPrefix("destroy") })
        let other = try await service.create(
          API.NewEndpoint(branchID: created.branch.id, type: .readWrite), project: project,
          account: account)
        try await installation.end(other.operations)
        #expect(
          try await installation.refusal {
            _ = try await service.update(
              endpoint, API.EndpointUpdate(branchID: created.branch.id), project: project,
              account: account)
          } == .endpointAlreadyExists)
        #expect(
          try await installation.refusal {
            _ = try await service.update(
              endpoint, API.EndpointUpdate(branchID: "br-none-such-00000000"), project: project,
              account: account)
          } == .branchNotFound)
      }
    }
  }

  @Test func aProtectedBranchKeepsItsEndpointsAndTakesOthers() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let service = EndpointService(core: installation.core)
        let replica = try await service.create(
          API.NewEndpoint(branchID: scene.main.rawValue, type: .readOnly),
          project: scene.project, account: scene.account)
        try await installation.end(replica.operations)
        func move(_ endpoint: EndpointID, to branch: BranchID) async throws {
          try await installation.end(
            try await service.update(
              endpoint, API.EndpointUpdate(branchID: branch.rawValue), project: scene.project,
              account: scene.account
            ).operations)
        }
        func protect(_ isProtected: Bool) async throws {
          _ = try await scene.branches.update(
            scene.main, API.BranchUpdate(isProtected: isProtected), project: scene.project,
            account: scene.account)
        }
        try await protect(true)
        for endpoint in [scene.endpoint, EndpointID(replica.endpoint.id)] {
          let deletion = await #expect(throws: ControlPlaneError.self) {
            _ = try await service.delete(
              endpoint, project: scene.project, account: scene.account)
          }
          let moving = await #expect(throws: ControlPlaneError.self) {
            try await move(endpoint, to: scene.dev)
          }
          #expect(moving?.code == .branchIsProtected)
          #expect(
            moving?.description
              == deletion?.description.replacing("delete endpoint", with: "move endpoint"))
        }
        try await scene.checkEndpoint()
        // A request that leaves it where it is, and one that brings one.
        try await move(scene.endpoint, to: scene.main)
        try await protect(false)
        try await move(EndpointID(replica.endpoint.id), to: scene.dev)
        try await protect(true)
        try await move(EndpointID(replica.endpoint.id), to: scene.main)
      }
    }
  }
}
