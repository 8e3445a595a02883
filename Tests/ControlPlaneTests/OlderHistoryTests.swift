import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// Histories of use as the older routes show them.
@Suite(.serialized) struct OlderHistoryTests {
  @Test func theOlderHistoriesShowTheMetricsThatAreNamed() async throws {
    try await Installation.with { installation in
      let (core, clock) = (installation.core, installation.clock)
      _ = try await installation.working {
        try await installation.end(try await installation.newProject().operations)
      }
      try await UsageMeter(core: core).round()
      clock.advance(90)
      try await UsageMeter(core: core).round()
      let service = ConsumptionService(core: core)
      let account = installation.account
      func frame(_ metrics: [String]) async throws -> API.ConsumptionFrame {
        let query = ConsumptionQuery(
          from: clock.now.addingTimeInterval(-10), to: clock.now, granularity: .hourly,
          metrics: metrics)
        let ofAll = try await service.account(query, of: account).periods
        let (answer, _) = try await service.projects(
          query, of: account, among: nil, after: nil, limit: 10)
        let one = try #require(answer.projects.first?.periods.first?.consumption.first)
        #expect(ofAll.first?.consumption.first == one)
        return one
      }
      let all = try await frame([])
      #expect(all.activeTimeSeconds == 90 && all.dataTransferBytes != nil)
      var some = all
      some.logicalSizeBytes = nil
      some.logicalSizeBytesHour = nil
      some.dataTransferBytes = nil
      #expect(try await frame(["active_time_seconds", "data_storage_bytes_hour"]) == some)
      #expect(some.dataStorageBytesHour != nil)
      for name in ["happiness", "compute_unit_seconds"] {
        let code = try await installation.refusal { _ = try await frame([name]) }
        #expect(code == .badValue, "\(name)")
      }
    }
  }
}
