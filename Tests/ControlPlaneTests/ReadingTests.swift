import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct ReadingTests {
  @Test func aMomentHasOneComputeForAllAndIsGoneHalfAMinuteAfterItsLastUse() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let past = PastSessions(core: core)
        let time = RFC3339.text(scene.start.addingTimeInterval(90))
        let login = try #require(
          try await past.authentication(
            target: scene.main.rawValue, moment: .timestamp(time), role: "exzodb_owner"))
        #expect(PastSessions.isKey(login.key))
        #expect(installation.fleet.readings.isEmpty, "a stranger opens nothing")
        #expect(
          try await past.authentication(
            target: scene.main.rawValue, moment: .timestamp(time), role: "nobody") == nil)
        #expect(
          try await past.authentication(
            target: "br-none", moment: .timestamp(time), role: "exzodb_owner") == nil)
        let computes = try await withThrowingTaskGroup(of: String.self) { group in
          for _ in 0..<10 { group.addTask { try await past.open(login.key).compute.computeID } }
          return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(computes.count == 1)
        let request = try #require(installation.fleet.readings.values.first)
        #expect(request.lineID == scene.line && request.lsn == LSN(0x150_0100))

        let housekeeping = Housekeeping(core: core, directory: EndpointDirectory(core: core))
        installation.clock.advance(29)
        try await housekeeping.round()
        #expect(installation.fleet.readings.count == 1)
        // A session that does something keeps it.
        installation.tenants.inUse = computes
        installation.clock.advance(60)
        try await housekeeping.round()
        #expect(installation.fleet.readings.count == 1)
        installation.tenants.inUse = []
        installation.clock.advance(5)
        try await housekeeping.round()
        #expect(installation.fleet.readings.isEmpty)
        #expect(try await core.catalog.read { try $0.readingComputes() }.isEmpty)

        let moments: [(PastSessions.Moment, ControlPlaneError.Code)] = [
          (.lsn("0/9"), .restorePointOutOfWindow), (.lsn("x"), .badValue),
          (.timestamp("yesterday"), .badValue),
          (.timestamp("2001-01-01T00:00:00Z"), .restorePointOutOfWindow),
        ]
        for (moment, code) in moments {
          let key = try #require(
            try await past.authentication(
              target: scene.endpoint.rawValue, moment: moment, role: "exzodb_owner")
          ).key
          #expect(try await installation.refusal { _ = try await past.open(key) } == code)
        }
      }
    }
  }

  /// The key of a moment of a scene's main branch.
  private func key(_ scene: PastScene, _ offset: Int) async throws -> String {
    try #require(
      try await PastSessions(core: scene.core).authentication(
        target: scene.main.rawValue, moment: .lsn((LSN(0x150_0010) + UInt64(offset)).description),
        role: "exzodb_owner")
    ).key
  }

  @Test func aProjectLeavesRoomForOthersAndIdleMomentsMakeRoom() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let (scene, other) = (try await PastScene(installation), try await PastScene(installation))
        let past = PastSessions(core: installation.core)
        var open: [String] = []
        for offset in 0..<ReadingComputes.projectLimit {
          open.append(try await past.open(try await key(scene, offset)).compute.computeID)
        }
        // Their clients may be on their way.
        let next = try await key(scene, 100)
        #expect(try await installation.refusal { _ = try await past.open(next) } == .unavailable)
        installation.clock.advance(5)
        installation.tenants.inUse = Set(open)
        #expect(try await installation.refusal { _ = try await past.open(next) } == .unavailable)
        // Who has one open already shares it, and another project has room.
        _ = try await past.open(try await key(scene, 0))
        _ = try await past.open(try await key(other, 0))
        // What nobody uses any more goes at once.
        installation.tenants.inUse = Set(open.filter { $0 != open[3] })
        _ = try await past.open(next)
        #expect(installation.fleet.readings[open[3]] == nil)
        #expect(installation.fleet.readings.count == ReadingComputes.projectLimit + 1)
        // Servers of the past have a size, and end transactions in which nothing happens.
        let settings = try #require(installation.fleet.readings[open[0]]?.settings)
        #expect(settings.units == ComputeSize.standard && settings.memoryMB == 1024)
        #expect(settings.parameters["idle_in_transaction_session_timeout"] == "300000")
      }
    }
  }

  /// Eight questions in a row to eight moments, each with a session of its own, leave room for a ninth.
  @Test func whoOnlyWaitsForClientsMakesRoomSoon() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let past = PastSessions(core: installation.core)
        for offset in 0..<ReadingComputes.projectLimit {
          _ = try await past.open(try await key(scene, offset))
        }
        let next = try await key(scene, 100)
        async let ninth = past.open(next)
        try await Task.sleep(for: .milliseconds(300))
        installation.clock.advance(5)
        _ = try await ninth
        #expect(installation.fleet.readings.count == ReadingComputes.projectLimit)
      }
    }
  }

  @Test func aQuotaThatIsUsedUpHoldsForThePastToo() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let past = PastSessions(core: core)
        let key = try await self.key(scene, 0x80)
        _ = try await past.open(key)
        _ = try await ProjectService(core: core).update(
          scene.project,
          API.ProjectUpdate(
            settings: API.ProjectSettings(quota: API.ProjectQuota(dataTransferBytes: 100))),
          account: scene.account)
        let directory = EndpointDirectory(core: core)
        directory.record(
          transfer: 99, branchID: try #require(PastSessions.branch(ofKey: key)),
          kind: "time_travel")
        try await directory.flush()
        try await QuotaService(core: core).enforce()
        #expect(installation.fleet.readings.count == 1)
        _ = try await past.open(key)
        // A branch without an endpoint counts as well.
        directory.record(transfer: 1, branchID: scene.dev.rawValue, kind: "time_travel")
        directory.record(transfer: 1000, branchID: "br-never-was-00000000", kind: "time_travel")
        try await directory.flush()
        #expect(try await core.catalog.read { try $0.transferByKind() } == ["time_travel": 100])
        #expect(try await installation.refusal { _ = try await past.open(key) } == .quotaExceeded)
        try await QuotaService(core: core).enforce()
        #expect(installation.fleet.readings.isEmpty)
      }
    }
  }

  @Test func whatAKilledServeLeftOpenIsEnded() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let key = try #require(
          try await PastSessions(core: core).authentication(
            target: scene.main.rawValue, moment: .lsn("0/1500100"), role: "exzodb_owner")
        ).key
        _ = try await PastSessions(core: core).open(key)
        #expect(installation.fleet.readings.count == 1)
        // The next process knows nothing but the rows.
        try await ReadingComputes().endIdle(core)
        #expect(installation.fleet.readings.isEmpty)
      }
    }
  }

  @Test func aBranchWhoseSchemaCouldNotBeCopiedIsUsedByNobodyAndCanBeDeleted() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let (project, account) = (scene.project, scene.account)
        installation.fleet.fail("openReading", with: [ComputeFleetError(.permanent, "broken")])
        let made = try await scene.branches.create(
          API.BranchCreateRequest(
            endpoints: [API.BranchEndpointOptions(type: .readWrite)],
            branch: API.NewBranch(initSource: "schema-only")), project: project, account: account)
        let ended = try await installation.end(made.operations)
        #expect(ended.map(\.status) == [.failed, .skipped])
        #expect(await installation.fleet.running().map(\.lineID) == [scene.line])
        let twin = BranchID(made.branch.id)
        let shown = try await scene.branches.get(twin, project: project, account: account).branch
        #expect(shown.currentState == .`init` && shown.pendingState == nil)
        let endpoints = EndpointService(core: scene.core)
        let endpoint = EndpointID(try #require(made.endpoints.first).id)
        for attempt in [
          { _ = try await endpoints.start(endpoint, project: project, account: account) },
          { _ = try await EndpointDirectory(core: scene.core).wake(endpoint.rawValue) },
          {
            _ = try await endpoints.create(
              API.NewEndpoint(branchID: twin.rawValue, type: .readOnly), project: project,
              account: account)
          },
          {
            _ = try await scene.branches.create(
              API.BranchCreateRequest(branch: API.NewBranch(parentID: twin.rawValue)),
              project: project, account: account)
          },
          { _ = try await scene.restore(twin, from: scene.main) },
        ] as [() async throws -> Void] {
          #expect(try await installation.refusal(attempt) == .branchNotFilled)
        }
        let gone = try await scene.branches.delete(twin, project: project, account: account)
        #expect(try await installation.end(gone.operations).map(\.status) == [.finished])
      }
    }
  }

  @Test func schemasOfTwoMomentsAreCompared() async throws {
    try await Installation.with { installation in
      var core = installation.core
      let tools = SimulatedSchemaTools()
      core.schemaTools = tools
      let service = SchemaService(core: core)
      try await installation.working {
        let scene = try await PastScene(installation)
        func place(_ branch: BranchID, lsn: String? = nil) -> SchemaService.Place {
          SchemaService.Place(branch: branch, lsn: lsn, time: nil)
        }
        let sql = try await service.schema(
          of: "exzodb", at: place(scene.main), asJSON: false, project: scene.project,
          account: scene.account)
        #expect(sql.sql == "CREATE TABLE exzodb (line \(scene.line));\n")
        // The head of a branch that runs is read where it runs.
        #expect(installation.fleet.readings.isEmpty)
        let json = try await service.schema(
          of: "exzodb", at: place(scene.main, lsn: "0/1500100"), asJSON: true,
          project: scene.project, account: scene.account)
        #expect(json.json?.tables.isEmpty == true && json.sql == nil)
        #expect(installation.fleet.readings.count == 1)
        let same = try await service.compare(
          "exzodb", at: place(scene.main), with: place(scene.main, lsn: "0/1500100"),
          project: scene.project, account: scene.account)
        #expect(same.isEmpty)
        #expect(
          try await installation.refusal {
            _ = try await service.schema(
              of: "none", at: place(scene.main), asJSON: false, project: scene.project,
              account: scene.account)
          } == .databaseNotFound)
        #expect(
          try await installation.refusal {
            _ = try await service.compare(
              "exzodb", at: place(scene.main), with: nil, project: scene.project,
              account: scene.account)
          } == .badValue)
      }
    }
  }

  @Test func aDiffIsWhatDiffWrites() {
    let old = (1...12).map { "line \($0)\n" }.joined()
    let new = old.replacing("line 2\n", with: "").replacing("line 11\n", with: "line 11\nnew\n")
    #expect(UnifiedDiff(from: old, to: old).text(fromName: "a", toName: "b") == "")
    #expect(
      UnifiedDiff(from: old, to: new).text(fromName: "a", toName: "b") == """
        --- a
        +++ b
        @@ -1,5 +1,4 @@
         line 1
        -line 2
         line 3
         line 4
         line 5
        @@ -9,4 +8,5 @@
         line 9
         line 10
         line 11
        +new
         line 12

        """)
    #expect(
      UnifiedDiff(from: "", to: "x\n").text(fromName: "a", toName: "b")
        == "--- a\n+++ b\n@@ -0,0 +1,1 @@\n+x\n")
    #expect(
      SchemaService.withoutKey("\\restrict k\nA\n\\unrestrict k\n\\unrestrict other\n")
        == "A\n\\unrestrict other\n")
  }
}
