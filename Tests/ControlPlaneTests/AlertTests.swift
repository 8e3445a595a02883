import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Synchronization
import Testing

@testable import ControlPlane

/// A receiver that refuses while it is told to, and remembers what it took.
private final class Receiver: AlertChannel {
  let name: String
  private let state = Mutex<(refusing: Bool, taken: [API.AlertMessage])>((false, []))

  init(_ name: String) { self.name = name }

  var taken: [String] {
    state.withLock { $0.taken.map { "\($0.event) \($0.alert.kind.rawValue) \($0.alert.subject)" } }
  }
  var messages: [API.AlertMessage] { state.withLock { $0.taken } }
  func refuse(_ refusing: Bool) { state.withLock { $0.refusing = refusing } }

  func send(_ message: API.AlertMessage) async throws {
    let refusing = state.withLock { state in
      if !state.refusing { state.taken.append(message) }
      return state.refusing
    }
    if refusing { throw ControlPlaneError(.unavailable, "nobody there") }
  }
}

/// A receiver that holds each message until its task is cancelled.
private struct HangingReceiver: AlertChannel {
  let name: String
  func send(_ message: API.AlertMessage) async throws { try await Task.sleep(for: .seconds(3600)) }
}

/// What is wrong, as a test has it.
private final class Wrong: Sendable {
  private let state = Mutex<[AlertCondition]>([])
  var all: [AlertCondition] { state.withLock { $0 } }
  func add(_ condition: AlertCondition) { state.withLock { $0.append(condition) } }
}

extension AlertService {
  /// Sends what is due, to one receiver after the other.
  fileprivate func deliver() async throws {
    for channel in core.settings.alerts.channels { try await deliver(to: channel) }
  }
}

@Suite(.serialized) struct AlertTests {
  private func condition(_ subject: String) -> AlertCondition {
    AlertCondition(
      kind: .captureLag, subject: subject, projectID: nil, message: "behind", hint: "look")
  }

  private func with(
    _ body: (Installation, AlertService, Receiver, Receiver) async throws -> Void
  ) async throws {
    try await Installation.with { installation in
      let (hook, command) = (Receiver("webhook"), Receiver("command"))
      var core = installation.core
      core.settings.alerts.channels = [hook, command]
      try await body(installation, AlertService(core: core), hook, command)
    }
  }

  @Test func anAlertIsToldOnceAndTakenBackWhenItIsOver() async throws {
    try await with { installation, alerts, hook, command in
      for _ in 0..<5 {
        try await alerts.round([condition("a")])
        try await alerts.deliver()
        installation.clock.advance(5)
      }
      #expect(hook.taken == ["raised capture_lag a"])
      #expect(command.taken == hook.taken)
      // Gone for less than the patience: it was never over.
      try await alerts.round([])
      installation.clock.advance(5)
      try await alerts.round([condition("a")])
      installation.clock.advance(10)
      try await alerts.round([])
      try await alerts.deliver()
      #expect(hook.taken.count == 1)
      installation.clock.advance(10)
      try await alerts.round([])
      try await alerts.deliver()
      #expect(hook.taken == ["raised capture_lag a", "resolved capture_lag a"])
      let shown = try await alerts.list(account: installation.account, limit: 10)
      #expect(shown.count == 1)
      #expect(shown[0].resolvedAt != nil)
      #expect(shown[0].notices.count == 4)
      // And again, later, it is a new one.
      installation.clock.advance(60)
      try await alerts.round([condition("a")])
      try await alerts.deliver()
      #expect(hook.taken.count == 3)
    }
  }

  @Test func aReceiverThatRefusesIsTriedAgainMoreAndMoreSeldom() async throws {
    try await with { installation, alerts, hook, command in
      hook.refuse(true)
      try await alerts.round([condition("a"), condition("b")])
      var attempts: [Int] = []
      for _ in 0..<60 {
        try await alerts.deliver()
        let shown = try await alerts.list(account: installation.account, limit: 10)
        attempts.append(
          shown.flatMap(\.notices).filter { $0.channel == "webhook" }.map(\.attempts).reduce(0, +))
        installation.clock.advance(5)
      }
      // Within 300 s at 0, 5, 15, 35, 75, 155 s: six attempts of each.
      #expect(attempts.last == 12)
      #expect(command.taken.sorted() == ["raised capture_lag a", "raised capture_lag b"])
      hook.refuse(false)
      installation.clock.advance(600)
      try await alerts.deliver()
      #expect(hook.taken.sorted() == ["raised capture_lag a", "raised capture_lag b"])
    }
  }

  @Test func aReceiverThatHangsHoldsUpNothingAndEndsWithTheTask() async throws {
    try await Installation.with { installation in
      let (hook, wrong) = (Receiver("webhook"), Wrong())
      var core = installation.core
      core.settings.alerts.channels = [HangingReceiver(name: "command"), hook]
      let alerts = AlertService(core: core)
      let task = Task { await alerts.run(every: .milliseconds(10)) { wrong.all } }
      for subject in ["a", "b"] {
        wrong.add(condition(subject))
        for _ in 0..<600 where hook.taken.last != "raised capture_lag \(subject)" {
          try await Task.sleep(for: .milliseconds(10))
        }
      }
      task.cancel()
      await task.value
      #expect(hook.taken == ["raised capture_lag a", "raised capture_lag b"])
      // What was cut off is nobody's failed attempt.
      let notices = try await alerts.list(account: installation.account, limit: 10)
        .flatMap(\.notices).filter { $0.channel == "command" }
      #expect(notices.map(\.attempts) == [0, 0] && notices.allSatisfy { $0.error == nil })
    }
  }

  @Test func whatIsOverIsToldAfterItWasRaisedOrNotAtAll() async throws {
    try await with { installation, alerts, hook, command in
      hook.refuse(true)
      try await alerts.round([condition("a")])
      // Refused often enough that the next attempt comes after the end.
      for _ in 0..<8 {
        try await alerts.deliver()
        installation.clock.advance(5)
      }
      try await alerts.round([])
      hook.refuse(false)
      try await alerts.deliver()
      #expect(hook.taken == [])
      #expect(command.taken == ["raised capture_lag a", "resolved capture_lag a"])
      installation.clock.advance(600)
      for _ in 0..<2 { try await alerts.deliver() }
      #expect(hook.taken == command.taken)
      // Given up.
      hook.refuse(true)
      try await alerts.round([condition("b")])
      for _ in 0..<AlertService.attempts {
        try await alerts.deliver()
        installation.clock.advance(600)
      }
      try await alerts.round([])
      installation.clock.advance(20)
      try await alerts.round([])
      hook.refuse(false)
      for _ in 0..<2 { try await alerts.deliver() }
      #expect(hook.taken.count == 2)
      #expect(command.taken.last == "resolved capture_lag b")
    }
  }

  @Test func whatIsFoundTwiceIsToldOnceAndWhatCannotBeKeptHoldsUpNothing() async throws {
    try await with { installation, alerts, hook, _ in
      // Longer than an index takes.
      let unkept = condition(installation.core.random.text(20_000))
      for _ in 0..<2 {
        try await alerts.round([condition("a"), unkept, condition("a"), condition("b")])
        try await alerts.deliver()
      }
      #expect(hook.taken == ["raised capture_lag a", "raised capture_lag b"])
      installation.clock.advance(20)
      try await alerts.round([unkept, condition("b")])
      try await alerts.deliver()
      #expect(hook.taken.last == "resolved capture_lag a")
    }
  }

  @Test func whatWasRaisedIsToldByTheNextProcess() async throws {
    try await with { installation, alerts, hook, _ in
      try await alerts.round([condition("a")])
      var core = installation.core
      core.settings.alerts.channels = [hook]
      let next = AlertService(core: core)
      try await next.round([condition("a")])
      try await next.deliver()
      #expect(hook.taken == ["raised capture_lag a"])
      // One that was over before the next process began is taken back by it.
      try await next.round([])
      installation.clock.advance(20)
      let third = AlertService(core: core)
      try await third.round([])
      installation.clock.advance(20)
      try await third.round([])
      try await third.deliver()
      #expect(hook.taken == ["raised capture_lag a", "resolved capture_lag a"])
    }
  }

  @Test func aBackupThatFailsOrDoesNotRunIsAnAlert() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        try await ScheduleService(core: core, kinds: [.snapshot]).set(
          API.BackupSchedule(schedule: [API.BackupScheduleItem(frequency: .hourly)]),
          branch: scene.main, project: scene.project, account: scene.account)
        let conditions = AlertConditions(core: core)
        #expect(try await conditions.now() == [])
        installation.clock.advance(3600 + 1000)
        #expect(try await conditions.now().map(\.kind) == [.backupMissed])
        installation.fleet.fail(
          "resolve", with: [ComputeFleetError(.permanent, "the store is gone")])
        let scheduler = BackupScheduler(
          core: core, actions: [.snapshot: SnapshotBackup(core: core)])
        try await scheduler.round()
        let failed = try await conditions.now()
        #expect(failed.map(\.kind) == [.backupFailed])
        #expect(failed[0].message.contains("the store is gone"))
        installation.clock.advance(120)
        try await scheduler.round()
        #expect(try await conditions.now() == [])
      }
    }
  }

  /// Nothing runs for what is deleted, so nothing of it can be mended.
  @Test(arguments: [false, true])
  func whatIsDeletedRaisesNoAlerts(withItsProject: Bool) async throws {
    try await Installation.with { installation in
      let core = installation.core
      let scene = try await installation.working { try await PastScene(installation) }
      let now = installation.clock.now
      try await core.catalog.write { tx in
        let project = try #require(try tx.project(scene.project))
        let branch = try #require(try tx.branch(scene.dev))
        for (position, failures) in [0, 3].enumerated() {
          var item = ScheduleItemRecord(
            id: ScheduleItemID("item-\(position)"), accountID: project.accountID,
            plan: project.plan, projectID: project.id, branchID: branch.id, position: position,
            frequency: "hourly", hour: nil, day: nil, month: nil, retentionSeconds: nil,
            kind: "snapshot", timeZone: "UTC", nextRunAt: now.addingTimeInterval(-3600),
            createdAt: now)
          item.failuresCount = failures
          try tx.insert(item)
        }
        var drill = DrillRecord(
          id: "drill", accountID: project.accountID, plan: project.plan, projectID: project.id,
          branchID: branch.id, lineID: branch.lineID, status: "failed", createdAt: now)
        drill.finishedAt = now
        try tx.insert(drill)
      }
      let conditions = AlertConditions(core: core)
      let told = try await conditions.now()
      #expect(Set(told.map(\.kind)) == [.backupFailed, .backupMissed, .drillFailed])
      if withItsProject {
        _ = try await ProjectService(core: core).delete(scene.project, account: scene.account)
      } else {
        _ = try await scene.branches.delete(
          scene.dev, project: scene.project, account: scene.account)
      }
      #expect(try await conditions.now() == [])
      let (items, drills) = try await core.catalog.read { tx in
        (try tx.failingScheduleItemCount(), try tx.proofCounts().drills["failed"])
      }
      #expect(items == 0 && drills == 0)
    }
  }

  @Test func aBranchThatIsHeldByAChildSaysSoAndExpiresAfterIt() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let housekeeping = Housekeeping(core: core, directory: EndpointDirectory(core: core))
        _ = try await scene.branches.update(
          scene.dev, API.BranchUpdate(expiresAt: .value(core.clock.now.addingTimeInterval(60))),
          project: scene.project, account: scene.account)
        let made = try await scene.branches.create(
          API.BranchCreateRequest(
            branch: API.NewBranch(parentID: scene.dev.rawValue, name: "child")),
          project: scene.project, account: scene.account)
        try await installation.end(made.operations)
        func shown() async throws -> API.Branch {
          try await scene.branches.get(scene.dev, project: scene.project, account: scene.account)
            .branch
        }
        #expect(try await shown().restrictedActions == nil)
        installation.clock.advance(61)
        try await housekeeping.round()
        #expect(try await shown().restrictedActions?.map(\.name) == ["delete"])
        #expect(
          try await shown().restrictedActions?.first?.reason.contains("'child' is its child")
            == true)
        let listed = try await scene.branches.list(
          project: scene.project, account: scene.account, search: nil, includesDeleted: false,
          by: .createdAt, page: PageRequest(limit: 10))
        #expect(
          listed.branches.filter { $0.restrictedActions != nil }.map(\.id)
            == [scene.dev.rawValue])
        let told = try await AlertConditions(core: core).now()
        #expect(told.map(\.kind) == [.branchNotExpired])
        #expect(told.first?.message.contains("branch 'dev'") == true, "\(told)")
        try await installation.end(
          try await scene.branches.delete(
            BranchID(made.branch.id), project: scene.project, account: scene.account
          ).operations)
        try await housekeeping.round()
        #expect(try await scene.row(scene.dev).deletionMethod == "ttl")
        #expect(try await AlertConditions(core: core).now() == [])
      }
    }
  }

  /// Whoever is told knows which branch is down, why, and where to look.
  @Test func aServerThatDoesNotComeUpIsToldInFull() async throws {
    try await with { installation, alerts, hook, command in
      let scene = try await installation.working { try await PastScene(installation) }
      let conditions = AlertConditions(core: installation.core)
      func tell(_ alarms: [String]) async throws {
        installation.fleet.setHealth([
          FleetHealth.Compute(
            lineID: scene.line, projectID: scene.project.rawValue, exposureSeconds: 0,
            walBytes: 0, alarms: alarms)
        ])
        try await alerts.round(try await conditions.now())
        try await alerts.deliver()
      }
      try await tell(["server did not come up again: no space left"])
      // Tried again meanwhile, with another outcome: it is the same alert.
      installation.clock.advance(5)
      try await tell(["server did not come up again: FATAL: no such setting"])
      #expect(hook.messages.count == 1 && command.messages == hook.messages)
      let told = try #require(hook.messages.first)
      #expect(told.event == "raised" && told.alert.kind == .computeAlarm)
      #expect(told.alert.subject == scene.line)
      #expect(told.alert.projectID == scene.project.rawValue && told.alert.resolvedAt == nil)
      #expect(
        told.alert.message
          == "the compute of branch 'main' of project '\(scene.project)' (line '\(scene.line)') "
          + "reports: server did not come up again: no space left")
      #expect(told.alert.hint == "its log is agent.log in the line's directory")
      // As they go over the wire.
      let wire = String(decoding: try APICoding.encode(told), as: UTF8.self)
      for part in [#""event":"raised""#, #""kind":"compute_alarm""#, "no space left"] {
        #expect(wire.contains(part), "\(wire)")
      }
      installation.clock.advance(20)
      try await tell([])
      #expect(hook.messages.map(\.event) == ["raised", "resolved"])
      #expect(hook.messages.last?.alert.message == told.alert.message)
      #expect(hook.messages.last?.alert.resolvedAt == installation.clock.now)
      #expect(command.messages == hook.messages)
    }
  }

  @Test func strangersSeeNoAlerts() async throws {
    try await Installation.with { installation in
      var stranger = installation.account
      stranger.isAdmin = false
      let caller = stranger
      let code = try await installation.refusal {
        _ = try await AlertService(core: installation.core).list(account: caller, limit: 1)
      }
      #expect(code == .routeNotFound)
    }
  }
}
