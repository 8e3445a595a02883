import Compute
import ControlPlane
import DurableIO
import Foundation
import PostgresClient

extension FleetAdapter {
  func inspect(_ source: AttachedServer) async throws -> SourceDescription {
    let (networks, major) = (networks, Installation.postgresMajor)
    let directory = fleet.configuration.dataDirectory
    return try await translatingSource {
      let (facts, free) = try await withThread(named: "inspect-source") {
        let authorities = try SourceAuthorities(source.rootCertificate)
        defer { authorities.remove() }
        var parameters = ConnectionParameters(
          host: source.host, port: source.port, user: source.user, password: source.password,
          database: source.database, applicationName: "exzo attach", sslMode: source.sslMode)
        parameters.rootCertificates = authorities.path
        return (
          try SourceInspection(try parameters.pinned(networks), major: major).run(),
          try SystemFileSystem().freeBytes(directory, operation: "look for room for a copy")
        )
      }
      var description = SourceDescription(
        systemIdentifier: facts.systemIdentifier, serverVersion: facts.serverVersion,
        major: facts.major, segmentSize: facts.segmentSize, hasChecksums: facts.hasChecksums,
        bootstrapRole: facts.bootstrapRole, databases: facts.databases, settings: facts.settings,
        bytes: facts.bytes)
      description.startedAt = facts.startedAt
      description.followers = facts.followers ?? [:]
      description.freeBytes = Int(clamping: free)
      description.notes = facts.notes
      return description
    }
  }

  func follow(_ request: FollowRequest) async throws -> FollowStatus {
    try await translatingSource {
      let client = self.fleet.client(line: request.lineID)
      if let status = await client.status(), status.phase == .running {
        return Self.followStatus(status)
      }
      return Self.followStatus(try await self.start(request))
    }
  }

  private func start(_ request: FollowRequest) async throws -> AgentStatus {
    let secrets =
      request.server.password.map { [SourceSpecification.passwordVariable: $0] } ?? [:]
    return try await fleet.start(try specification(following: request), secrets: secrets)
  }

  func followStatus(line: String) async -> FollowStatus? {
    guard let status = await fleet.client(line: line).status(), status.source != nil else {
      return nil
    }
    return Self.followStatus(status)
  }

  func pauseFollowing(line: String) async throws {
    try await translating { try await self.fleet.suspend(line: line) }
  }

  func storeFollowed(_ request: FollowRequest) async throws {
    try await translatingSource { try await self.suspendStored(request) }
  }

  /// After an accident the line's last WAL is stored by another start and a clean stop.
  private func suspendStored(_ request: FollowRequest) async throws {
    let line = request.lineID
    let ran = await fleet.client(line: line).status() != nil
    try await fleet.suspend(line: line)
    // What ran and could not store its last WAL now could not a moment later either.
    if !ran, !fleet.isDrained(following: line) {
      _ = try await start(request)
      try await fleet.suspend(line: line)
    }
    guard fleet.isDrained(following: line) else {
      throw ComputeFleetError(
        .temporary,
        "store the last WAL of server '\(request.server.host):\(request.server.port)': the object store "
          + "did not take it, and it lies on this machine only (line '\(line)')")
    }
  }

  func release(_ request: FollowRequest, keepsSlot: Bool, givesUpWAL: Bool) async throws {
    try await translatingSource {
      if givesUpWAL {
        try await self.fleet.suspend(line: request.lineID)
      } else {
        try await self.suspendStored(request)
      }
      if !keepsSlot {
        let source = self.source(of: request)
        try await withThread(named: "drop-slot") {
          let authorities = try SourceAuthorities(source.rootCertificate)
          defer { authorities.remove() }
          var connection = source.connection(password: request.server.password)
          connection.rootCertificates = authorities.path
          try SourceSlot(source, connection).drop()
        }
      }
      try await self.fleet.destroy(line: request.lineID)
      self.forget(line: request.lineID)
    }
  }

  private func source(of request: FollowRequest) -> SourceSpecification {
    let (server, facts) = (request.server, request.description)
    var source = SourceSpecification(
      host: server.host, port: server.port, user: server.user, database: server.database,
      sslMode: server.sslMode, slot: request.slot, openedNetworks: networks.entries,
      facts: SourceFacts(
        systemIdentifier: facts.systemIdentifier, serverVersion: facts.serverVersion,
        major: facts.major, segmentSize: facts.segmentSize, hasChecksums: facts.hasChecksums,
        bootstrapRole: facts.bootstrapRole, databases: facts.databases, settings: facts.settings,
        bytes: facts.bytes))
    source.rootCertificate = server.rootCertificate
    return source
  }

  private func specification(following request: FollowRequest) throws -> AgentSpecification {
    var specification = try specification(
      for: ComputeRequest(
        computeID: "follow-\(request.lineID)", projectID: request.projectID, branchID: "",
        endpointID: "", lineID: request.lineID, origin: .existing,
        major: request.description.major, settings: ComputeSettings(), roles: [], databases: []))
    specification.origin = .source(source(of: request))
    return specification
  }

  private static func followStatus(_ status: AgentStatus) -> FollowStatus {
    let source = status.source
    return FollowStatus(
      phase: (source?.phase).flatMap { FollowStatus.Phase(rawValue: $0.rawValue) } ?? .failed,
      copiedBytes: source?.copiedBytes ?? 0, totalBytes: source?.totalBytes ?? 0,
      failure: source?.failure ?? status.messages.first, isStreaming: source?.isStreaming ?? false,
      sourceLSN: source?.sourceLSN ?? .invalid, receivedLSN: status.receivedLSN,
      uploadedLSN: status.uploadedLSN, lagSeconds: status.exposureSeconds,
      trouble: source?.trouble, awaySeconds: source?.awaySeconds, heldUntil: source?.heldUntil)
  }

  /// As ``translating(_:)``, with what the source's server says. A password is in none of it.
  private func translatingSource<Value: Sendable>(
    _ work: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    do {
      return try await translating(work)
    } catch let error as PostgresError {
      let hint = error.hint.map { ". HINT: \($0)" } ?? ""
      // A server notices late that nobody uses a slot any more.
      let passes = error.isConnectionLoss || error.sqlState == "55006"
      let code: ComputeFleetError.Code = passes ? .temporary : .permanent
      throw ComputeFleetError(code, "talk to the source: \(error.message)\(hint)")
    }
  }
}
