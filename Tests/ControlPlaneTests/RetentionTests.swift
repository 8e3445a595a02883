import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct RetentionTests {
  private static let day = 86_400

  /// A project that is a month old, with a window of a week.
  private func withOldProject(
    _ body: (Installation, ProjectID, RetentionService) async throws -> Void
  ) async throws {
    try await Installation.with { installation in
      let created = try await installation.working {
        let created = try await installation.newProject()
        try await installation.end(created.operations)
        return created
      }
      installation.clock.advance(Double(30 * Self.day))
      try await body(
        installation, ProjectID(created.project.id), RetentionService(core: installation.core))
    }
  }

  private func patch(_ installation: Installation, _ project: ProjectID, _ seconds: Int)
    async throws
  {
    _ = try await ProjectService(core: installation.core).update(
      project, API.ProjectUpdate(historyRetentionSeconds: seconds),
      account: installation.account.id)
  }

  @Test func aMonthOfChanges() async throws {
    try await withOldProject { installation, project, service in
      let clock = installation.clock
      func back() async throws -> (seconds: Int, reach: Int) {
        let window = try await service.window(of: project, at: clock.now)
        return (window.seconds, Int(clock.now.timeIntervalSince(window.start)))
      }
      var now = try await back()
      #expect(now.seconds == 7 * Self.day && now.reach == 7 * Self.day)
      // Shrinking: an hour later, not before.
      try await patch(installation, project, Self.day)
      #expect(try await back().seconds == 7 * Self.day)
      clock.advance(3599)
      #expect(try await back().seconds == 7 * Self.day)
      clock.advance(1)
      now = try await back()
      #expect(now.seconds == Self.day && now.reach == Self.day)
      // Growing: at once, and it brings nothing back.
      try await patch(installation, project, 30 * Self.day)
      now = try await back()
      #expect(now.seconds == 30 * Self.day && now.reach == Self.day)
      clock.advance(Double(10 * Self.day))
      #expect(try await back().reach == 11 * Self.day)
      clock.advance(Double(30 * Self.day))
      #expect(try await back().reach == 30 * Self.day)
      // None at all, and what was kept meanwhile is what a new window begins with.
      try await patch(installation, project, 0)
      clock.advance(3600)
      now = try await back()
      #expect(now.seconds == 0 && now.reach == 0)
      clock.advance(Double(5 * Self.day))
      try await patch(installation, project, 7 * Self.day)
      #expect(try await back().reach == 0)
      clock.advance(60)
      #expect(try await back().reach == 60)
    }
  }

  @Test func aShrinkingCanBeTakenBackWithinItsHour() async throws {
    try await withOldProject { installation, project, service in
      let account = installation.account.id
      try await patch(installation, project, 60)
      installation.clock.advance(3000)
      let cancelled = try await service.cancel(project: project, account: account)
      #expect(cancelled.historyRetentionSeconds == 7 * Self.day)
      #expect(cancelled.pending == nil)
      installation.clock.advance(Double(Self.day))
      let window = try await service.window(of: project, at: installation.clock.now)
      #expect(window.seconds == 7 * Self.day)
      #expect(installation.clock.now.timeIntervalSince(window.start) == Double(7 * Self.day))
      // A further shrinking keeps what is in force until its own hour is over.
      try await patch(installation, project, Self.day)
      installation.clock.advance(1800)
      try await patch(installation, project, 60)
      installation.clock.advance(1801)
      #expect(
        try await service.effectiveRetention(of: project, at: installation.clock.now)
          == 7 * Self.day)
      installation.clock.advance(1800)
      #expect(try await service.effectiveRetention(of: project, at: installation.clock.now) == 60)
      #expect(
        try await installation.refusal {
          _ = try await service.cancel(project: project, account: account)
        } == .retentionNotPending)
    }
  }

  @Test func shrinkingTellsItsCostAndWantsConfirmation() async throws {
    try await withOldProject { installation, project, service in
      let account = installation.account.id
      let line = try #require(installation.fleet.lines.keys.first)
      installation.fleet.set(historyBytes: 3000, of: line)
      let shown = try await service.show(project: project, account: account, proposed: 3 * Self.day)
      let cost = try #require(shown.cost)
      #expect(cost.to.timeIntervalSince(cost.from) == Double(4 * Self.day))
      #expect(cost.bytes == 2700)
      let larger = try await service.show(
        project: project, account: account, proposed: 8 * Self.day)
      #expect(larger.cost == nil)
      var request = API.RetentionUpdateRequest(historyRetentionSeconds: 3 * Self.day)
      let unconfirmed = request
      do {
        _ = try await service.update(unconfirmed, project: project, account: account)
        Issue.record("shrunk without confirmation")
      } catch let error as ControlPlaneError {
        #expect(error.code == .confirmationRequired)
        #expect(error.message.contains("2700 bytes"))
      }
      request.confirm = true
      let changed = try await service.update(request, project: project, account: account)
      #expect(changed.pending?.previousSeconds == 7 * Self.day)
      #expect(changed.pending?.effectiveAt == installation.clock.now.addingTimeInterval(3600))
      #expect(
        try await installation.refusal {
          _ = try await service.update(
            API.RetentionUpdateRequest(historyRetentionSeconds: 2_592_001, confirm: true),
            project: project, account: account)
        } == .badValue)
    }
  }

  /// A line without a compute is a moment of its parent, however long nobody opens it.
  @Test func aBranchThatNobodyOpenedKeepsItsMoment() async throws {
    try await withOldProject { installation, project, service in
      let account = installation.account.id
      let root = try #require(installation.fleet.lines.keys.first)
      installation.fleet.write(0x1000, to: root)
      let child = try await installation.working {
        let made = try await BranchService(core: installation.core).create(
          API.BranchCreateRequest(branch: API.NewBranch(name: "dev")), project: project,
          account: account)
        try await installation.end(made.operations)
        return BranchID(made.branch.id)
      }
      let line = try await installation.core.catalog.read { tx in
        try tx.branch(child).flatMap { try tx.lineage(of: $0.lineID).first }
      }
      let lsn = try #require(line?.parentLSN)
      #expect(line?.isOpened == false)
      func moments() async throws -> [LSN] {
        try await service.promises().first { $0.lineID == root }?.moments ?? []
      }
      #expect(try await moments().contains(lsn))
      installation.clock.advance(Double(60 * Self.day))
      #expect(try await moments() == [lsn])
      _ = try await installation.working {
        let gone = try await BranchService(core: installation.core).delete(
          child, project: project, account: account)
        try await installation.end(gone.operations)
      }
      // A deleted branch may come back for a week.
      installation.clock.advance(Double(6 * Self.day))
      #expect(try await moments() == [lsn])
      installation.clock.advance(Double(2 * Self.day))
      #expect(try await moments().isEmpty)
    }
  }

  /// A snapshot without an end ends with its project, when that can be recovered no more: what it kept leaves the store.
  @Test func snapshotsEndWithTheirProject() async throws {
    try await withOldProject { installation, project, service in
      let (core, account) = (installation.core, installation.account.id)
      let root = try #require(installation.fleet.lines.keys.first)
      installation.fleet.write(0x1000, to: root)
      let branch = try #require(
        try await core.catalog.read { try $0.branches(of: project) }.first?.id)
      _ = try await installation.working {
        let made = try await SnapshotService(core: core).create(
          SnapshotService.Request(name: "kept"), branch: branch, project: project,
          account: account)
        let gone = try await ProjectService(core: core).delete(project, account: account)
        try await installation.end(made.operations + gone.operations)
      }
      func moments() async throws -> Int? {
        try await Housekeeping(core: core, directory: EndpointDirectory(core: core)).round()
        return try await service.promises().first { $0.lineID == root }?.moments.count
      }
      installation.clock.advance(Double(6 * Self.day))
      #expect(try await moments() == 1)
      installation.clock.advance(Double(2 * Self.day))
      #expect(try await moments() == 0)
    }
  }

  /// The window's two ends are moments that can be opened, and what lies before is refused.
  @Test func theRestoreWindowBeginsWhereThePromiseDoes() async throws {
    try await Installation.with { installation in
      let created = try await installation.working {
        let created = try await installation.newProject()
        try await installation.end(created.operations)
        return created
      }
      let (project, account) = (ProjectID(created.project.id), installation.account.id)
      let main = BranchID(created.branch.id)
      let line = try #require(installation.fleet.lines.keys.first)
      for _ in 0..<20 {
        installation.clock.advance(Double(Self.day))
        installation.fleet.write(0x100, to: line)
      }
      let service = BranchService(core: installation.core)
      func window() async throws -> API.RestoreWindow {
        try #require(
          try await service.get(main, project: project, account: account).branch.restoreWindow)
      }
      var found = try await window()
      let start = installation.clock.now.addingTimeInterval(Double(-7 * Self.day))
      #expect(found.earliestTimestamp == start)
      // 13 of the 20 writes are a week old or older.
      let head = try #require(installation.fleet.lines[line]).head
      #expect(LSN(found.earliestLSN) == LSN(head.rawValue - 7 * 0x100))
      #expect(LSN(found.latestLSN) == head)
      // A shrinking that is pending takes nothing away; growing brings nothing back.
      try await patch(installation, project, Self.day)
      #expect(try await window().earliestTimestamp == start)
      installation.clock.advance(3600)
      found = try await window()
      let later = installation.clock.now.addingTimeInterval(Double(-Self.day))
      #expect(found.earliestTimestamp == later)
      try await patch(installation, project, 7 * Self.day)
      #expect(try await window().earliestTimestamp == later)
      let before = try #require(LSN(found.earliestLSN)).rawValue - 0x100
      #expect(
        try await installation.refusal {
          _ = try await service.create(
            API.BranchCreateRequest(
              branch: API.NewBranch(name: "old", parentLSN: LSN(before).description)),
            project: project, account: account)
        } == .restorePointOutOfWindow)
    }
  }
}
