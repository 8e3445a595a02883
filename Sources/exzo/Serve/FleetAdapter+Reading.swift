import Compute
import ControlPlane
import Foundation
import PostgresFormat

extension FleetAdapter {
  /// Directories of computes that only read begin with it; lines begin with `ln-`.
  static let readingPrefix = "rd-"

  func openReading(_ request: ReadingRequest) async throws -> RunningCompute {
    try await translating {
      let compute = ComputeRequest(
        computeID: request.endpointID ?? request.id, projectID: request.projectID, branchID: "",
        endpointID: "",
        lineID: request.id, origin: .branch(parentLine: request.lineID, lsn: request.lsn),
        major: request.major, settings: request.settings, roles: request.roles, databases: [])
      var specification = try await withThread(named: "specification") {
        try self.specification(for: compute)
      }
      specification.readsOnly = true
      specification.follows = request.followsLine.map { self.fleet.directory(line: $0).run }
      let opened = specification
      let status = try await self.fleet.start(opened)
      return self.running(opened, status)
    }
  }

  func closeReading(id: String) async throws {
    try await translating { try await self.fleet.destroy(line: id) }
  }
}
