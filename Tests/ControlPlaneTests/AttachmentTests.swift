import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

/// Servers elsewhere, as the control plane sees them; what following really does is `AttachTests`.
@Suite(.serialized) struct AttachmentTests {
  struct Scene {
    let installation: Installation
    var core: Core { installation.core }
    var service: AttachmentService { AttachmentService(core: core) }

    func attach(_ host: String, password: String = "secret") async throws -> API.AttachedResponse {
      try await service.attach(
        API.AttachRequest(
          source: API.AttachSource(connectionString: "postgresql://u:\(password)@\(host)/app")),
        account: installation.account.id)
    }

    func update(
      _ project: String, _ source: String?, copyAnew: Bool? = nil
    ) async throws -> API.AttachmentOperations {
      try await service.update(
        ProjectID(project),
        API.AttachmentUpdateRequest(
          source: source.map { API.AttachSource(connectionString: $0) }, copyAnew: copyAnew),
        account: installation.account.id)
    }

    func line(_ project: String) async throws -> String {
      let record = try await core.catalog.read { try $0.attachment(of: ProjectID(project)) }
      return try #require(record).lineID.rawValue
    }
  }

  func with(_ body: (Scene) async throws -> Void) async throws {
    try await Installation.with { installation in
      for number in 1...20 {
        installation.fleet.sources.add("db\(number)", system: UInt64(number), password: "secret")
      }
      try await installation.working { try await body(Scene(installation: installation)) }
    }
  }

  /// Copies that take for ever have workers of their own.
  @Test func copiesHoldUpNothingElse() async throws {
    try await with { scene in
      var copies: [API.Operation] = []
      for number in 1...20 { copies += try await scene.attach("db\(number)").operations }
      while scene.installation.fleet.sources.followed.count < 8 {
        try await Task.sleep(for: .milliseconds(5))
      }
      let created = try await scene.installation.newProject()
      let ended = try await scene.installation.end(created.operations)
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
      let ids = copies.map { OperationID($0.id) }
      let states = try await scene.core.catalog.read { tx in
        try ids.compactMap { try tx.operation($0)?.status }
      }
      #expect(states.allSatisfy { $0 == .running || $0 == .scheduling }, "\(states)")
      #expect(states.count { $0 == .running } == 8, "\(states)")
      // The others come when these have ended.
      while try await scene.core.catalog.read({ try !$0.unfinishedOperations().isEmpty }) {
        for line in scene.installation.fleet.sources.followed {
          scene.installation.fleet.sources.set(.following, of: line)
        }
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(scene.installation.fleet.sources.slots.count == 20)
    }
  }

  /// Nothing is dated later than what is held, and nothing later is promised.
  @Test func whatIsHeldOfAServerThatIsAwayIsDatedWhenItWasLastHeardOf() async throws {
    try await with { scene in
      let (installation, core) = (scene.installation, scene.core)
      let attached = try await scene.attach("db1")
      let line = try await scene.line(attached.project.id)
      _ = try await installation.fleet.createRoot(
        RootRequest(lineID: line, projectID: attached.project.id, major: 15))
      installation.fleet.sources.set(.following, of: line)
      try await installation.end(attached.operations)
      let (project, branch) = (ProjectID(attached.project.id), BranchID(attached.branch.id))
      installation.clock.advance(600)
      let held = installation.clock.now
      installation.clock.advance(3600)
      installation.fleet.sources.setAway(line, heldUntil: held, seconds: 3600)
      func snapshot(_ time: Date? = nil) async throws -> API.Snapshot {
        try await SnapshotService(core: core).create(
          .init(time: time), branch: branch, project: project, account: installation.account.id
        ).snapshot
      }
      #expect(try await snapshot().timestamp == held)
      #expect(try await snapshot(held).timestamp == held)
      let error = await #expect(throws: ControlPlaneError.self) {
        _ = try await snapshot(held.addingTimeInterval(1))
      }
      #expect(error?.code == .restorePointOutOfWindow)
      #expect(error?.description.contains(RFC3339.text(held)) == true, "\(error as Any)")
      let shown = try await BranchService(core: core).get(
        branch, project: project, account: installation.account.id
      ).0
      #expect(shown.restoreWindow?.latestTimestamp == held)
      let status = try await scene.service.get(project, account: installation.account.id)
      #expect(status.lagSeconds == 3600 && status.heldUntil == held && status.awaySince == held)
      // It is there again.
      installation.fleet.sources.set(.following, of: line)
      #expect(try await snapshot().timestamp == installation.clock.now)
    }
  }

  @Test func aChangedPasswordIsTakenOnlyWhereItIsThatServers() async throws {
    try await with { scene in
      let attached = try await scene.attach("db1")
      let (project, sources) = (attached.project.id, scene.installation.fleet.sources)
      sources.set(.following, of: try await scene.line(project))
      try await scene.installation.end(attached.operations)
      sources.add("db1", system: 1, password: "new")
      for (source, part) in [
        ("postgresql://u:secret@db1/app", "password authentication failed"),
        ("postgresql://u@db1/app", "password authentication failed"),
        ("postgresql://u:secret@db2/app", "system identifier is 2"),
      ] {
        let error = await #expect(throws: ControlPlaneError.self) {
          _ = try await scene.update(project, source)
        }
        #expect(error?.code == .sourceRefused && error?.message.contains(part) == true)
      }
      let updated = try await scene.update(project, "postgresql://u:new@db1/app")
      #expect(updated.attachment.status == .following && updated.operations.isEmpty)
      // Without one the known one stays.
      _ = try await scene.update(project, "postgresql://u@db1/other")
      let shown = try await scene.service.get(
        ProjectID(project), account: scene.installation.account.id)
      #expect(shown.database == "other" && shown.streaming == true)
    }
  }

  @Test func aCopyThatFailedIsBegunAnewAndOneThatFollowsIsNot() async throws {
    try await with { scene in
      let attached = try await scene.attach("db1")
      let (project, sources) = (attached.project.id, scene.installation.fleet.sources)
      let line = try await scene.line(project)
      sources.set(.failed, of: line, failure: "no space")
      let failed = try await scene.installation.end(attached.operations)
      #expect(failed[0].status == .failed)
      #expect(sources.slots.isEmpty)
      sources.set(.following, of: line)
      let again = try await scene.update(project, "postgresql://u@db1/app")
      #expect(again.operations.count == 1)
      let ended = try await scene.installation.end(again.operations)
      #expect(ended[0].status == .finished)
      let code = try await scene.installation.refusal {
        _ = try await scene.update(project, nil, copyAnew: true)
      }
      #expect(code == .badValue)
      let none = try await scene.installation.refusal { _ = try await scene.update(project, nil) }
      #expect(none == .badValue)
    }
  }

  /// What nothing would ever make is not promised; the server and branches have it.
  @Test func rolesAndDatabasesAreMadeOnTheServerOrOnABranch() async throws {
    try await with { scene in
      let attached = try await scene.attach("db1")
      scene.installation.fleet.sources.set(
        .following, of: try await scene.line(attached.project.id))
      try await scene.installation.end(attached.operations)
      let (main, project) = (BranchID(attached.branch.id), ProjectID(attached.project.id))
      let account = scene.installation.account.id
      let (roles, databases) = (RoleService(core: scene.core), DatabaseService(core: scene.core))
      let owner = try #require(attached.roles.first?.name)
      let writes: [() async throws -> Void] = [
        {
          _ = try await roles.create(
            API.NewRole(name: "r"), branch: main, project: project, account: account)
        },
        {
          _ = try await databases.create(
            API.NewDatabase(name: "d", ownerName: owner), branch: main, project: project,
            account: account)
        },
        {
          _ = try await databases.delete(
            "app", branch: main, project: project, account: account)
        },
        {
          _ = try await ConnectionURIService(core: scene.core).uri(
            .init(branch: main, endpoint: nil, database: "app", role: owner), project: project,
            account: account)
        },
      ]
      for write in writes {
        do {
          try await write()
          Issue.record("it was not refused")
        } catch let error as ControlPlaneError {
          #expect(error.code == .branchIsAttached, "\(error)")
          #expect(error.hint?.contains("create a branch of it") == true, "\(error)")
        }
      }
      // The password of past sessions and of branches.
      let reset = try await roles.resetPassword(
        owner, branch: main, project: project, account: account)
      let ended = try await scene.installation.end(reset.operations)
      #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
    }
  }

  /// A restore would need a compute of ours, which such a branch never gets: it is refused when it is asked for.
  @Test func nothingIsRestoredIntoABranchThatFollows() async throws {
    try await with { scene in
      let core = scene.core
      let attached = try await scene.attach("db1")
      scene.installation.fleet.sources.set(
        .following, of: try await scene.line(attached.project.id))
      try await scene.installation.end(attached.operations)
      let (main, project) = (BranchID(attached.branch.id), ProjectID(attached.project.id))
      let account = scene.installation.account.id
      let dump = DumpID("dump-1")
      try await core.catalog.write { tx in
        let branch = try #require(try tx.branch(main))
        var row = DumpRecord(
          id: dump, project: try #require(try tx.project(project)), branchID: main,
          databaseName: "app", lineID: branch.lineID, lsn: LSN(0x150_0000), moment: nil,
          format: .custom, jobs: 1, isManual: true, isVerifiedAfter: false,
          operationID: OperationID("none"), createdAt: core.clock.now, expiresAt: nil)
        row.status = .finished
        row.sizeBytes = 1
        try tx.insert(row)
      }
      let (dumps, time) = (DumpService(core: core), scene.installation.clock.now)
      let writes: [() async throws -> Void] = [
        {
          _ = try await dumps.restore(
            dump, API.DumpRestoreRequest(branchID: main.rawValue, database: "app"),
            project: project, account: account)
        },
        {
          _ = try await dumps.recover(
            API.RecoverTableRequest(database: "app", table: "public.t", timestamp: time),
            branch: main, project: project, account: account)
        },
        {
          _ = try await dumps.recover(
            API.RecoverDatabaseRequest(database: "app", timestamp: time), branch: main,
            project: project, account: account)
        },
      ]
      for write in writes {
        #expect(try await scene.installation.refusal { try await write() } == .branchIsAttached)
      }
      #expect(try await core.catalog.read { try $0.unfinishedOperations() }.isEmpty)
    }
  }

  /// Earlier versions noted what was asked for on a branch that follows a server, and made it nowhere.
  @Test func aBranchThatFollowsListsWhatTheServerHas() async throws {
    try await with { scene in
      let core = scene.core
      let attached = try await scene.attach("db1")
      let line = try await scene.line(attached.project.id)
      _ = try await scene.installation.fleet.createRoot(
        RootRequest(lineID: line, projectID: attached.project.id, major: 15))
      scene.installation.fleet.sources.set(.following, of: line)
      try await scene.installation.end(attached.operations)
      let (main, project) = (BranchID(attached.branch.id), ProjectID(attached.project.id))
      let account = scene.installation.account.id
      try await core.catalog.write { tx in
        let rows = NewRows(core: core, project: try #require(try tx.project(project)))
        try tx.insert(
          try rows.role("nowhere", of: main, password: "p", isProtected: false, canLogin: true))
        try tx.insert(
          rows.database("none", owner: "nowhere", of: main, id: try tx.nextDatabaseID()))
      }
      let (roles, databases) = (RoleService(core: core), DatabaseService(core: core))
      func names(_ branch: BranchID) async throws -> [String] {
        try await roles.list(branch: branch, project: project, account: account).map(\.name)
          + databases.list(branch: branch, project: project, account: account).map(\.name)
      }
      let expected = attached.roles.map(\.name) + attached.databases.map(\.name)
      #expect(expected.count > 1)
      #expect(try await names(main) == expected)
      let refused = [
        try await scene.installation.refusal {
          _ = try await roles.get("nowhere", branch: main, project: project, account: account)
        },
        try await scene.installation.refusal {
          _ = try await databases.get("none", branch: main, project: project, account: account)
        },
      ]
      #expect(refused == [.roleNotFound, .databaseNotFound])
      // Nor does a branch of it get them; there they can be made.
      let made = try await BranchService(core: core).create(
        API.BranchCreateRequest(branch: API.NewBranch(name: "dev")), project: project,
        account: account)
      try await scene.installation.end(made.operations)
      let dev = BranchID(made.branch.id)
      #expect(try await names(dev) == expected)
      let role = try await roles.create(
        API.NewRole(name: "nowhere"), branch: dev, project: project, account: account)
      try await scene.installation.end(role.operations)
      #expect(try await names(dev).contains("nowhere"))
    }
  }

  /// Failed, detached and away for long are told; what is told of the attachment is not told of its line again.
  @Test func whatIsNotFollowedIsAnAlert() async throws {
    try await with { scene in
      let attached = try await scene.attach("db1")
      let sources = scene.installation.fleet.sources
      let line = try await scene.line(attached.project.id)
      sources.set(.following, of: line)
      try await scene.installation.end(attached.operations)
      let conditions = AlertConditions(core: scene.core)
      #expect(try await conditions.now() == [])
      // Our standby's files, which nothing but its next restartpoint holds.
      scene.installation.fleet.setHealth([
        FleetHealth.Compute(
          lineID: line, projectID: attached.project.id, exposureSeconds: 0, walBytes: 1 << 40,
          alarms: [])
      ])
      #expect(try await conditions.now() == [])
      sources.set(.failed, of: line, failure: "WAL is gone")
      let found = try await conditions.now()
      #expect(found.map(\.kind) == [.attachmentFailed])
      #expect(found[0].message.contains("WAL is gone"))
    }
  }

  /// What follows goes on with its line on the machine that comes after the lost one, and so do copies.
  @Test func aRecoveredMachineGoesOnWithTheSameLines() async throws {
    try await Installation.with { installation in
      let scene = Scene(installation: installation)
      let sources = installation.fleet.sources
      for number in 1...2 { sources.add("db\(number)", system: UInt64(number), password: "secret") }
      let (followed, copied) = try await installation.working {
        let followed = try await scene.attach("db1")
        let line = try await scene.line(followed.project.id)
        sources.set(.following, of: line)
        try await installation.end(followed.operations)
        _ = try await installation.fleet.createRoot(
          RootRequest(lineID: line, projectID: followed.project.id, major: 15))
        return (followed, try await scene.attach("db2"))
      }
      let lines = [
        try await scene.line(followed.project.id), try await scene.line(copied.project.id),
      ]
      for line in lines { try await installation.fleet.pauseFollowing(line: line) }
      try await installation.core.catalog.write { try $0.beginRecovery("token") }
      let report = try await MachineRecovery(core: installation.core).run(
        continuesDespiteDamage: false
      ) { _ in }
      #expect(report?.damages == [] && report?.branches == 2)
      let branches = [followed, copied].map { BranchID($0.branch.id) }
      let (kept, left) = try await installation.core.catalog.read { tx in
        (
          try branches.compactMap { try tx.branch($0)?.lineID.rawValue },
          try tx.unfinishedOperations().map(\.kind)
        )
      }
      #expect(kept == lines)
      #expect(left == ["attach_source"])
      sources.set(.following, of: lines[1])
      let ended = try await installation.working {
        try await installation.end(copied.operations)
      }
      #expect(ended.allSatisfy { $0.status == .finished })
      try await AttachmentKeeper(core: installation.core).round()
      #expect(sources.followed == Set(lines))
    }
  }
}
