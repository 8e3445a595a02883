import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct MeteringTests {
  private struct Scene {
    var installation: Installation
    var created: API.CreatedProject
    var line: String
    var project: ProjectID { ProjectID(created.project.id) }
    var branch: BranchID { BranchID(created.branch.id) }
    var endpoint: EndpointID { EndpointID(created.endpoints[0].id) }

    func totals(since date: Date? = nil) async throws -> UsageTotals {
      let start = date ?? BillingPeriod(holding: installation.clock.now).start
      return try await installation.core.catalog.read {
        try $0.usage(of: project, since: start)[branch] ?? UsageTotals()
      }
    }
  }

  private func withRunningProject(
    _ settings: API.ProjectSettings? = nil, _ body: (Scene) async throws -> Void
  ) async throws {
    try await Installation.with { installation in
      let created = try await installation.working {
        let created = try await installation.newProject(API.NewProject(settings: settings))
        try await installation.end(created.operations)
        return created
      }
      let line = try #require(installation.fleet.lines.keys.first)
      try await body(Scene(installation: installation, created: created, line: line))
    }
  }

  @Test func timeAndWALCountOnceWhoeverCounts() async throws {
    try await withRunningProject { scene in
      let core = scene.installation.core
      try await UsageMeter(core: core).round()
      scene.installation.clock.advance(10)
      scene.installation.fleet.write(1000, to: scene.line)
      for _ in 0..<3 { try await UsageMeter(core: core).round() }
      var totals = try await scene.totals()
      #expect(totals.activeMilliseconds == 10_000)
      #expect(totals.computeMilliseconds == 2_500)
      #expect(totals.writtenBytes == 1000)
      // serve was away for an hour and a half while the compute went on.
      scene.installation.clock.advance(5400)
      scene.installation.fleet.write(7, to: scene.line)
      try await UsageMeter(core: core).round()
      totals = try await scene.totals()
      #expect(totals.activeMilliseconds == 5_410_000)
      #expect(totals.writtenBytes == 1007)
      let now = scene.installation.clock.now
      let frames = try await core.catalog.read {
        try $0.usageFrames(
          of: [scene.project], from: now.addingTimeInterval(-86_400), to: now, by: .hourly)
      }
      #expect(frames.map(\.totals.activeMilliseconds) == [3_600_000, 1_810_000])
      #expect(frames[0].isRoot)
      // A clock that is set back takes nothing and gives nothing.
      scene.installation.clock.advance(-100)
      try await UsageMeter(core: core).round()
      #expect(try await scene.totals().activeMilliseconds == 5_410_000)
    }
  }

  @Test func aSuspendedComputeCostsNoTime() async throws {
    try await withRunningProject { scene in
      let core = scene.installation.core
      try await UsageMeter(core: core).round()
      try await scene.installation.working {
        let answer = try await EndpointService(core: core).suspend(
          scene.endpoint, project: scene.project, account: scene.installation.account.id)
        try await scene.installation.end(answer.operations)
      }
      scene.installation.clock.advance(1000)
      try await UsageMeter(core: core).round()
      #expect(try await scene.totals().activeMilliseconds == 0)
      try await scene.installation.working {
        let answer = try await EndpointService(core: core).start(
          scene.endpoint, project: scene.project, account: scene.installation.account.id)
        try await scene.installation.end(answer.operations)
      }
      scene.installation.clock.advance(3)
      try await UsageMeter(core: core).round()
      #expect(try await scene.totals().activeMilliseconds == 3000)
    }
  }

  @Test func aBatchWhoseAnswerWasLostCountsOnce() async throws {
    try await withRunningProject { scene in
      let core = scene.installation.core
      let now = scene.installation.clock.now
      let increment = TransferIncrement(endpoint: scene.endpoint, kind: "dump", bytes: 70)
      for (sequence, isNew) in [(1, true), (1, false), (2, true), (2, false), (1, false)] {
        let wasNew = try await core.catalog.write { tx -> Bool in
          guard try tx.beginBatch(sequence, of: "writer", at: now) else { return false }
          try tx.addTransfer(increment, at: now)
          return true
        }
        #expect(wasNew == isNew)
      }
      #expect(try await scene.totals().transferBytes == 140)
      let directory = EndpointDirectory(core: core)
      directory.record(transfer: 5, endpointID: scene.endpoint.rawValue, kind: "query")
      directory.record(transfer: 6, endpointID: scene.endpoint.rawValue, kind: "query")
      directory.record(transfer: 9, endpointID: "ep-never-was-00000000", kind: "query")
      for _ in 0..<2 { try await directory.flush() }
      #expect(try await scene.totals().transferBytes == 151)
      #expect(
        try await core.catalog.read { try $0.transferByKind() } == ["dump": 140, "query": 11])
    }
  }

  @Test func aBatchStaysUntilItIsKnownToBeWritten() {
    let batches = TransferBatches(writer: "w")
    #expect(batches.take(at: Date()) == nil)
    batches.add(3, endpoint: EndpointID("ep-a"), kind: "query")
    let first = batches.take(at: Date())
    batches.add(4, endpoint: EndpointID("ep-a"), kind: "query")
    #expect(batches.take(at: Date())?.increments == first?.increments)
    if let first { batches.written(first) }
    let second = batches.take(at: Date())
    #expect(second?.sequence == 2)
    #expect(second?.increments.map(\.bytes) == [4])
  }

  @Test func storageCountsByTheHourAndCountersByTheMonth() async throws {
    try await withRunningProject { scene in
      let (core, clock) = (scene.installation.core, scene.installation.clock)
      let meter = UsageMeter(core: core)
      scene.installation.fleet.set(historyBytes: 500, of: scene.line)
      try await meter.measure()
      try await meter.round()
      clock.advance(3 * 3600 + 60)
      // After three hours away, and again with nothing in memory.
      for _ in 0..<2 { try await UsageMeter(core: core).round() }
      let totals = try await scene.totals()
      #expect(totals.logicalByteHours == 21_000_000)
      #expect(totals.historyByteHours == 1500)
      #expect(totals.logicalBytes == 7_000_000)
      let shown = try await ProjectService(core: core).get(
        scene.project, account: scene.installation.account.id)
      #expect(shown.dataStorageBytesHour == 1500)
      #expect(shown.activeTimeSeconds == 3 * 3600 + 60)
      #expect(shown.computeTimeSeconds == (3 * 3600 + 60) / 4)
      // A list shows the same, each of its own.
      let second = try await scene.installation.newProject(API.NewProject(name: "second"))
      let list = try await ProjectService(core: core).list(
        account: scene.installation.account.id, search: nil, isDeleted: false,
        page: PageRequest(limit: 10)
      ).projects
      let item = try #require(list.first { $0.id == scene.project.rawValue })
      #expect(item.activeTime == 3 * 3600 + 60 && item.cpuUsedSec == shown.cpuUsedSec)
      #expect(item.syntheticStorageSize == 500 && shown.syntheticStorageSize == 500)
      let other = try #require(list.first { $0.id == second.project.id })
      #expect(other.activeTime == 0 && other.cpuUsedSec == 0)
      // The next month starts from nothing; the old one stays in the history.
      let period = BillingPeriod(holding: clock.now)
      clock.advance(period.end.timeIntervalSince(clock.now) + 1)
      let next = try await ProjectService(core: core).get(
        scene.project, account: scene.installation.account.id)
      #expect(next.activeTimeSeconds == 0)
      #expect(next.consumptionPeriodStart == period.end)
      let history = try await ConsumptionService(core: core).account(
        ConsumptionQuery(from: period.start, to: clock.now, granularity: .monthly),
        of: scene.installation.account)
      #expect(history.periods.map(\.consumption[0].activeTimeSeconds) == [3 * 3600 + 60])
      #expect(history.periods[0].periodEnd == period.end)
    }
  }

  @Test func whatSleepsIsMeasuredByTheHour() async throws {
    try await withRunningProject { scene in
      let (core, fleet) = (scene.installation.core, scene.installation.fleet)
      func stored() async throws -> Int? {
        try await ProjectService(core: core).get(
          scene.project, account: scene.installation.account.id
        ).syntheticStorageSize
      }
      let meter = UsageMeter(core: core)
      fleet.set(historyBytes: 500, of: scene.line)
      scene.installation.clock.advance(1)
      try await meter.round()
      try await meter.measure()
      try await scene.installation.working {
        let answer = try await EndpointService(core: core).suspend(
          scene.endpoint, project: scene.project, account: scene.installation.account.id)
        try await scene.installation.end(answer.operations)
      }
      // The collector evicts half of it.
      fleet.set(historyBytes: 250, of: scene.line)
      scene.installation.clock.advance(1800)
      try await meter.measure()
      #expect(try await stored() == 500)
      scene.installation.clock.advance(1801)
      try await meter.measure()
      #expect(try await stored() == 250)
    }
  }

  @Test func aChildIsChargedOnceForWhatItChangedAndDumpsForTheirSize() async throws {
    try await withRunningProject { scene in
      let (core, clock) = (scene.installation.core, scene.installation.clock)
      let children = try await scene.installation.working {
        var children: [BranchID] = []
        for name in ["small", "busy"] {
          let made = try await BranchService(core: core).create(
            API.BranchCreateRequest(branch: API.NewBranch(name: name)), project: scene.project,
            account: scene.installation.account.id)
          try await scene.installation.end(made.operations)
          children.append(BranchID(made.branch.id))
        }
        return children
      }
      let gigabyte = 1_000_000_000
      let sizes = [(scene.branch, 7, 1), (children[0], 5, 2), (children[1], 1, 4)]
      try await core.catalog.write { tx in
        for (branch, logical, history) in sizes {
          try tx.setSizes(
            logical: logical * gigabyte, history: history * gigabyte, of: branch,
            project: scene.project, at: clock.now)
        }
        let project = try #require(try tx.project(scene.project))
        var dump = DumpRecord(
          id: DumpID("dump-one"), project: project, branchID: scene.branch,
          databaseName: "exzodb", lineID: CatalogLineID(scene.line), lsn: LSN(0x150_0000),
          moment: nil, format: .custom, jobs: 1, isManual: true, isVerifiedAfter: false,
          operationID: OperationID("none"), createdAt: clock.now, expiresAt: nil)
        dump.status = .finished
        dump.sizeBytes = 3 * gigabyte
        dump.finishedAt = clock.now
        try tx.insert(dump)
      }
      try await UsageMeter(core: core).round()
      clock.advance(2 * 3600)
      try await UsageMeter(core: core).round()
      let period = BillingPeriod(holding: clock.now)
      let used = try await core.catalog.read {
        try $0.usage(of: scene.project, since: period.start)
      }
      let charged = ([scene.branch] + children).map { branch in
        let totals = used[branch] ?? UsageTotals()
        return [totals.branchByteHours, totals.restoreByteHours, totals.dumpByteHours].map {
          $0 / gigabyte / 2
        }
      }
      #expect(charged == [[7, 1, 3], [2, 0, 0], [1, 3, 0]])
      let estimate = try await BillingService(core: core).estimate(
        project: scene.project, account: scene.installation.account.id)
      for (name, gigabytes) in [
        ("logical_size_gigabyte_months", 10.0), ("history_gigabyte_months", 4),
        ("dump_gigabyte_months", 3),
      ] {
        let item = try #require(estimate.items.first { $0.metricName == name })
        #expect(abs(item.quantity * Double(period.hours) - 2 * gigabytes) < 1e-6, "\(item)")
      }
    }
  }

  @Test func aQuotaSuspendsAndSaysWhy() async throws {
    let settings = API.ProjectSettings(quota: API.ProjectQuota(computeTimeSeconds: 2))
    try await withRunningProject(settings) { scene in
      let (core, clock) = (scene.installation.core, scene.installation.clock)
      let endpoints = EndpointService(core: core)
      let account = scene.installation.account.id
      clock.advance(7)
      try await UsageMeter(core: core).round()
      try await QuotaService(core: core).enforce()
      #expect(
        try await endpoints.list(project: scene.project, account: account)[0].pendingState == nil)
      clock.advance(1)
      try await UsageMeter(core: core).round()
      try await scene.installation.working {
        try await QuotaService(core: core).enforce()
        let operations = try await OperationService(core: core).list(
          project: scene.project, account: account, page: PageRequest(limit: 1)
        ).operations
        #expect(operations[0].kind == "suspend_compute")
        try await scene.installation.end(operations)
      }
      #expect(
        try await endpoints.list(project: scene.project, account: account)[0].currentState == .idle)
      do {
        _ = try await endpoints.start(scene.endpoint, project: scene.project, account: account)
        Issue.record("the compute started")
      } catch let error as ControlPlaneError {
        #expect(error.code == .quotaExceeded)
        #expect(error.message.contains("project.settings.quota.compute_time_seconds is 2"))
      }
      let login = try await EndpointDirectory(core: core).authentication(
        target: scene.endpoint.rawValue, role: "exzodb_owner")
      #expect(login?.quota?.reason.contains("compute_time_seconds") == true)
      // The next month has room again.
      let period = BillingPeriod(holding: clock.now)
      clock.advance(period.end.timeIntervalSince(clock.now))
      let answer = try await endpoints.start(
        scene.endpoint, project: scene.project, account: account)
      #expect(answer.operations.count == 1)
    }
  }

  @Test func planLimitsCountAllOfAnAccountsProjects() async throws {
    try await withRunningProject { scene in
      let core = scene.installation.core
      let limits = API.PlanLimits(
        projectsLimit: 5, branchesLimit: 5, historyRetentionSecondsMaximum: 2_592_000,
        computeUnitsMaximum: 16, transferBytesLimit: 100,
        prices: ["data_transfer_gigabytes": 1e9])
      let admin = AccountAdministration(core: core)
      _ = try await admin.setPlan("tiny", limits, by: scene.installation.account)
      _ = try await admin.update(
        scene.installation.account.id, API.AccountUpdate(plan: "tiny"),
        by: scene.installation.account)
      let directory = EndpointDirectory(core: core)
      directory.record(transfer: 99, endpointID: scene.endpoint.rawValue, kind: "query")
      try await directory.flush()
      let request = API.NewProject(name: "second")
      _ = try await scene.installation.newProject(request)
      directory.record(transfer: 1, endpointID: scene.endpoint.rawValue, kind: "query")
      try await directory.flush()
      #expect(
        try await scene.installation.refusal {
          _ = try await scene.installation.newProject(request)
        }
          == .quotaExceeded)
      let estimate = try await BillingService(core: core).estimate(
        project: scene.project, account: scene.installation.account.id)
      #expect(estimate.plan == "tiny")
      #expect(abs(estimate.total - 100) < 1e-6)
      #expect(estimate.total == estimate.items.reduce(0) { $0 + $1.quantity * $1.price })
    }
  }

  @Test func rangesAreRoundedOutwardsAndBounded() async throws {
    try await withRunningProject { scene in
      let (core, clock) = (scene.installation.core, scene.installation.clock)
      clock.advance(90)
      try await UsageMeter(core: core).round()
      let service = ConsumptionService(core: core)
      let account = scene.installation.account
      let inside = ConsumptionQuery(
        from: clock.now.addingTimeInterval(-10), to: clock.now.addingTimeInterval(-5),
        granularity: .hourly, metrics: ["compute_unit_seconds", "active_time_seconds"])
      let (answer, _) = try await service.projectsV2(
        inside, of: account, among: nil, after: nil, limit: 10)
      let frame = try #require(answer.projects.first?.periods.first?.consumption.first)
      #expect(frame.timeframeEnd.timeIntervalSince(frame.timeframeStart) == 3600)
      #expect(frame.metrics.map(\.value) == [22, 90])
      let (branches, _) = try await service.branches(
        inside, of: account, projects: [scene.project], among: nil, after: nil, limit: 10)
      #expect(branches.branches.map(\.branchID) == [scene.branch.rawValue])
      for (from, to, granularity) in [
        (0.0, 0.0, UsageGranularity.hourly), (10, 0, .daily), (-169 * 3600, 0, .hourly),
        (-61 * 86_400, 0, .daily), (-367 * 86_400, 0, .monthly),
      ] {
        let query = ConsumptionQuery(
          from: clock.now.addingTimeInterval(from), to: clock.now.addingTimeInterval(to),
          granularity: granularity)
        let code = try await scene.installation.refusal {
          _ = try await service.account(query, of: account)
        }
        #expect(code == .timeRangeNotAcceptable)
      }
      var unknown = inside
      unknown.metrics = ["happiness"]
      let query = unknown
      let code = try await scene.installation.refusal {
        _ = try await service.projectsV2(query, of: account, among: nil, after: nil, limit: 10)
      }
      #expect(code == .badValue)
    }
  }
}
