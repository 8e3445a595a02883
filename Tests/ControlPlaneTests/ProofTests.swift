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
}
