import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// Verifications and drills: how they end, and what is told of them.
@Suite(.serialized) struct ProofTests {
  /// Notes the verification of everything that comes next.
  private func note(
    _ status: API.ProofStatus, _ installation: Installation
  ) async throws {
    installation.clock.advance(60)
    let (now, account) = (installation.clock.now, installation.account)
    try await installation.core.catalog.write { tx in
      var record = VerificationRecord(
        id: "verification-\(now.timeIntervalSince1970)", accountID: account.id,
        plan: account.plan, projectID: nil, status: status.rawValue, createdAt: now)
      if ![.scheduled, .running].contains(status) { record.finishedAt = now }
      try tx.insert(record)
    }
  }

  @Test func whatAVerificationFoundIsWrongUntilOnePasses() async throws {
    try await Installation.with { installation in
      let steps: [(API.ProofStatus, [API.AlertKind])] = [
        (.failed, [.verificationFailed]), (.scheduled, [.verificationFailed]),
        (.running, [.verificationFailed]), (.error, [.verificationFailed, .proofNotMade]),
        (.scheduled, [.verificationFailed, .proofNotMade]), (.passed, []),
        (.error, [.proofNotMade]), (.running, [.proofNotMade]), (.passed, []), (.running, []),
      ]
      for (status, kinds) in steps {
        try await note(status, installation)
        // What is forgotten makes no difference.
        let now = installation.clock.now
        try await installation.core.catalog.write { try $0.forgetProofs(before: now) }
        let found = try await AlertConditions(core: installation.core).now()
        #expect(found.map(\.kind) == kinds, "\(status): \(found)")
      }
    }
  }

  @Test func whatADrillFoundIsWrongUntilOnePasses() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let steps: [(API.ProofStatus, [API.AlertKind])] = [
        (.failed, [.drillFailed]), (.scheduled, [.drillFailed]),
        (.error, [.drillFailed, .proofNotMade]), (.passed, []), (.error, [.proofNotMade]),
        (.passed, []),
      ]
      for (number, (status, kinds)) in steps.enumerated() {
        installation.clock.advance(60)
        let now = installation.clock.now
        try await installation.core.catalog.write { tx in
          let branch = try #require(try tx.branch(scene.main))
          var drill = DrillRecord(
            id: "drill-\(number)", accountID: branch.accountID, plan: branch.plan,
            projectID: branch.projectID, branchID: branch.id, lineID: branch.lineID,
            status: status.rawValue, createdAt: now)
          if status != .scheduled { drill.finishedAt = now }
          try tx.insert(drill)
          try tx.forgetProofs(before: now)
        }
        let found = try await AlertConditions(core: installation.core).now()
        #expect(found.map(\.kind) == kinds, "\(status): \(found)")
      }
    }
  }

  /// The line of a drill that was forgotten would keep its parent's history for ever.
  @Test func whatADrillCouldNotTakeAwayIsTakenAwayLater() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let (fleet, service) = (installation.fleet, DrillService(core: installation.core))
      fleet.setDrill(DrillOutcome(toOpen: .milliseconds(1)))
      fleet.fail("endDrill", with: (0..<2).map { _ in ComputeFleetError(.temporary, "away") })
      let asked = try await service.start(
        branch: scene.main, project: scene.project, account: scene.account)
      func left() async throws -> CatalogLineID? {
        try await installation.core.catalog.read { try $0.drill(asked.id)?.scratchLineID }
      }
      #expect(try await service.work(pauses: []))
      let drill = try await service.get(asked.id, project: scene.project, account: scene.account)
      #expect(drill.status == .passed, "\(drill)")
      let line = try #require(try await left())
      for _ in 0..<3 { #expect(try await !service.work(pauses: [])) }
      #expect(try await left() == nil)
      let removals = fleet.calls.filter { $0.hasPrefix("endDrill ") }
      #expect(removals == (0..<3).map { _ in "endDrill \(line)" })
    }
  }

  /// The store may be away for a while: only what is refused again and again, at the same moment, is a failure.
  @Test func aDrillFailsWhereTheHistoryGivesTheMomentAtNoAttempt() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      let (fleet, service) = (installation.fleet, DrillService(core: installation.core))
      fleet.setDrill(DrillOutcome(toOpen: .milliseconds(1)))
      func drill(_ codes: [ComputeFleetError.Code]) async throws -> (API.Drill, attempts: [String])
      {
        installation.clock.advance(60)
        let before = fleet.calls.count
        fleet.fail("drill", with: codes.map { ComputeFleetError($0, "so it is") })
        let asked = try await service.start(
          branch: scene.main, project: scene.project, account: scene.account)
        #expect(try await service.work(pauses: [.zero, .zero]))
        let drill = try await service.get(
          asked.id, project: scene.project, account: scene.account)
        return (drill, fleet.calls[before...].filter { $0.hasPrefix("drill ") })
      }
      func told() async throws -> [API.AlertKind] {
        try await AlertConditions(core: installation.core).now().map(\.kind)
      }
      let away = try await drill([.temporary, .temporary, .temporary])
      #expect(away.0.status == .error && away.0.error == "so it is")
      #expect(try await told() == [.proofNotMade])
      let damaged = try await drill([.damaged, .damaged, .damaged])
      #expect(damaged.0.status == .failed)
      #expect(damaged.attempts.count == 3 && Set(damaged.attempts).count == 1, "\(damaged)")
      #expect(try await told() == [.drillFailed])
      let never = try await drill([.permanent])
      #expect(never.0.status == .error && never.attempts.count == 1)
      #expect(try await told() == [.drillFailed, .proofNotMade])
      let late = try await drill([.temporary, .damaged])
      #expect(late.0.status == .passed && late.0.error == nil && late.attempts.count == 3)
      #expect(try await told() == [])
    }
  }
}
