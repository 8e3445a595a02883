import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// What is told of the object stores.
extension AlertTests {
  @Test func aSecondStoreThatFailsForLongIsAnAlertThoughItIsNotBehind() async throws {
    try await Installation.with { installation in
      let conditions = AlertConditions(core: installation.core)
      func found(
        _ failure: String?, lag: Double? = 10, after seconds: Double = 0
      ) async throws -> [AlertCondition] {
        installation.clock.advance(seconds)
        installation.fleet.setMirror(
          FleetHealth.Mirror(lag: lag, missingObjects: 0, failure: failure))
        return try await conditions.now()
      }
      #expect(try await found("3 objects are damaged") == [])
      #expect(try await found("3 objects are damaged", after: 500) == [])
      // A pass without failures: what comes then begins anew.
      #expect(try await found(nil, after: 10) == [])
      #expect(try await found("3 objects are damaged", after: 10) == [])
      #expect(try await found("3 objects are damaged", after: 500) == [])
      let told = try await found("3 objects are damaged", after: 101)
      #expect(told.map(\.kind) == [.mirrorLag])
      #expect(told.first?.message.contains("3 objects are damaged") == true, "\(told)")
      #expect(try await found(nil) == [])
      #expect(try await found(nil, lag: 601).map(\.kind) == [.mirrorLag])
      #expect(try await found("no answer", lag: nil).map(\.kind) == [.mirrorLag])
      // What is told of already stays as long as it fails, however long that is known.
      try await AlertService(core: installation.core).round(told)
      #expect(try await found(nil) == [])
      #expect(try await found("3 objects are damaged").map(\.kind) == [.mirrorLag])
    }
  }

  /// Where credentials have expired, restarting serve alone does not help.
  @Test func commitsThatStayOnTheMachineLeadToTheComputeToo() async throws {
    try await Installation.with { installation in
      let scene = try await installation.working { try await PastScene(installation) }
      installation.fleet.setHealth([
        FleetHealth.Compute(
          lineID: scene.line, projectID: scene.project.rawValue, exposureSeconds: 3600,
          walBytes: 0, alarms: [])
      ])
      let found = try await AlertConditions(core: installation.core).now()
      let lag = try #require(found.first { $0.kind == .captureLag })
      for command in ["'exzo store speed'", "'exzo endpoints restart ID'"] {
        #expect(lag.hint.contains(command), "\(lag.hint)")
      }
    }
  }
}
