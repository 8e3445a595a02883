import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Synchronization
import Testing

@testable import ControlPlane

/// A catalog that came from the store, on a machine that has nothing else.
@Suite(.serialized) struct MachineRecoveryTests {
  /// Marks the catalog as ``RecoveredCatalog`` does.
  private func markRecovered(_ core: Core) async throws {
    try await core.catalog.write { try $0.beginRecovery("token") }
  }

  private func recover(
    _ installation: Installation, despiteDamage: Bool = false
  ) async throws -> (MachineRecovery.Report?, String?) {
    let key = Mutex<String?>(nil)
    let report = try await MachineRecovery(core: installation.core).run(
      continuesDespiteDamage: despiteDamage
    ) { text in key.withLock { $0 = text } }
    return (report, key.withLock { $0 })
  }

  @Test func everyBranchGoesOnFromItsHeadOnANewLine() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let core = installation.core
      installation.fleet.crash()
      let head = try #require(installation.fleet.lines[scene.line]?.head)
      try await markRecovered(core)
      let (report, key) = try await recover(installation)
      #expect(report?.branches == 2)
      #expect(report?.damages == [])
      // The administrator has a new key, and it works.
      #expect(try await AccountService(core: core).authenticate(try #require(key), from: "") != nil)
      try await core.catalog.read { tx in
        let branch = try #require(try tx.branch(scene.main))
        let line = try #require(try tx.line(branch.lineID))
        #expect(line.id.rawValue != scene.line)
        #expect(line.parentID?.rawValue == scene.line)
        #expect(line.parentLSN == head)
        #expect(line.inheritsWindow && !line.isOpened)
        let endpoint = try #require(try tx.endpoint(scene.endpoint))
        #expect(endpoint.state == .idle && endpoint.pendingState == nil)
        #expect(try tx.compute(of: scene.endpoint)?.lineID == line.id)
        #expect(try tx.unfinishedRecovery() == nil)
      }
      // Nothing points to the lost machine's line, and all that hangs on it is looked at by a verification.
      let retention = RetentionService(core: core)
      #expect(try await !retention.promises().contains { $0.lineID == scene.line })
      let looked = try await retention.promises(withGuarded: true).first {
        $0.lineID == scene.line
      }
      #expect(looked?.moments.contains(head) == true && looked?.start != nil, "\(looked as Any)")
      // It wakes, moments before the loss open, and a second call does nothing.
      try await installation.working {
        _ = try await EndpointDirectory(core: core).wake(scene.endpoint.rawValue)
        let past = try await scene.branches.create(
          API.BranchCreateRequest(
            branch: API.NewBranch(parentID: scene.main.rawValue, parentTimestamp: scene.start)),
          project: scene.project, account: scene.account)
        try await installation.end(past.operations)
      }
      #expect(try await recover(installation).0 == nil)
    }
  }

  /// The machine dies between every two steps of a restore; afterwards the branch has the state before
  /// it or after it, whole, and can be restored.
  @Test func anOperationCutOffLeavesABranchThatWorks() async throws {
    try await Installation.with { installation in
      for boundary in 0..<8 {
        let scene = try await installation.working { try await PastScene(installation) }
        let core = installation.core
        let count = Mutex(0)
        let engine = installation.engine { step in
          guard step.operation.kind == OperationKind.restoreBranch.rawValue else { return }
          let number = count.withLock { count in
            count += 1
            return count
          }
          if number > boundary { throw EngineAbandoned() }
        }
        let answer = try await scene.branches.restore(
          scene.main,
          API.BranchRestoreRequest(
            sourceBranchID: scene.main.rawValue,
            sourceTimestamp: scene.start.addingTimeInterval(70),
            preserveUnderName: "before"), project: scene.project, account: scene.account)
        _ = try? await engine.run()  // ends by being abandoned
        installation.fleet.crash()
        try await markRecovered(core)
        let (report, _) = try await recover(installation)
        #expect(report?.endedOperations ?? 0 >= 1, "boundary \(boundary)")
        let left = try await core.catalog.read { try $0.unfinishedOperations() }
        #expect(left == [], "boundary \(boundary)")
        let restore = try #require(
          try await core.catalog.read { try $0.operation(OperationID(answer.operations[0].id)) })
        #expect([.failed, .finished].contains(restore.status))
        try await installation.working {
          _ = try await EndpointDirectory(core: core).wake(scene.endpoint.rawValue)
          let again = try await scene.branches.restore(
            scene.main,
            API.BranchRestoreRequest(
              sourceBranchID: scene.main.rawValue,
              sourceTimestamp: scene.start.addingTimeInterval(70),
              preserveUnderName: "before again"), project: scene.project, account: scene.account)
          let ended = try await installation.end(again.operations)
          #expect(ended.allSatisfy { $0.status == .finished }, "boundary \(boundary): \(ended)")
        }
      }
    }
  }

  @Test func aDamagedLineStopsItUnlessOneSaysSo() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let core = installation.core
      installation.fleet.crash()
      try await markRecovered(core)
      let damage = ComputeFleetError(.damaged, "read 'lines/x/wal/7': checksum")
      installation.fleet.fail("resolve", with: [damage])
      let code = try await installation.refusal { _ = try await recover(installation) }
      #expect(code == .historyDamaged)
      // Nothing has been changed by that, and the next attempt goes on.
      #expect(try await core.catalog.read { try $0.unfinishedRecovery() } != nil)
      installation.fleet.fail("resolve", with: [damage])
      let (report, _) = try await recover(installation, despiteDamage: true)
      #expect(report?.damages.count == 1)
      #expect(report?.damages.first?.contains("lines/x/wal/7") == true)
      _ = scene
    }
  }

  @Test func aLineThatIsNotInTheStoreIsNamed() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      installation.fleet.crash()
      installation.fleet.forget(line: scene.line)
      try await markRecovered(installation.core)
      do {
        _ = try await recover(installation)
        Issue.record("it was recovered")
      } catch let error as ControlPlaneError {
        #expect(error.message.contains("'lines/\(scene.line)/line' is not in the store"))
      }
    }
  }
}
