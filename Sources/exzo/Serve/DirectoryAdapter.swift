import ControlPlane
import PostgresProxy
import Synchronization

/// The proxy's way to the control plane.
final class DirectoryAdapter: ProxyDirectory {
  private let directory: EndpointDirectory
  private let past: PastSessions
  private let poolers: Poolers?
  /// The endpoint whose transfer a moment's bytes are.
  private let countedFor = Mutex<[String: String]>([:])

  /// Above this many moments the oldest knowledge is dropped; until the next connection their bytes count
  /// for the branch alone.
  private static let momentsLimit = 4096

  init(directory: EndpointDirectory, past: PastSessions, poolers: Poolers? = nil) {
    self.directory = directory
    self.past = past
    self.poolers = poolers
  }

  func authentication(target: ProxyTarget, role: String) async throws -> RoleAuthentication? {
    if let moment = target.moment {
      let found = try await past.authentication(
        target: target.id, moment: PastSessions.Moment(moment), role: role)
      guard let found else { return nil }
      var authentication = RoleAuthentication(
        scramVerifier: found.scramVerifier, endpointID: found.key)
      if let rules = found.allowedAddresses { authentication.admits = { rules.allow($0) } }
      return authentication
    }
    guard let found = try await directory.authentication(target: target.id, role: role) else {
      return nil
    }
    var refusal: ProxyRefusal?
    if found.isDisabled {
      refusal = ProxyRefusal(
        sqlState: "57P03", message: "endpoint \(found.endpointID) is disabled",
        hint: "Enable it: exzo endpoints update \(found.endpointID).")
    }
    if let quota = found.quota {
      refusal = ProxyRefusal(sqlState: "53400", message: quota.reason, hint: quota.hint)
    }
    var authentication = RoleAuthentication(
      scramVerifier: found.scramVerifier, endpointID: found.endpointID, refusal: refusal)
    if let rules = found.allowedAddresses { authentication.admits = { rules.allow($0) } }
    return authentication
  }

  func wake(_ endpointID: String) async throws -> ComputeAddress {
    guard PastSessions.isKey(endpointID) else {
      return ComputeAddress(try await running(endpointID))
    }
    do {
      let session = try await past.open(endpointID)
      countedFor.withLock { known in
        if known.count >= Self.momentsLimit { known = [:] }
        known[endpointID] = session.countedFor
      }
      return ComputeAddress(session.compute, trustsProxy: true)
    } catch let error as ControlPlaneError {
      // Appendix A: too_many_connections, configuration_limit_exceeded, invalid_parameter_value.
      let state =
        switch error.code {
        case .unavailable: "53300"
        case .quotaExceeded: "53400"
        default: "22023"
        }
      throw ProxyRefusal(sqlState: state, message: error.message, hint: error.hint)
    } catch let error as ComputeFleetError where error.code == .temporary {
      // Appendix A: cannot_connect_now.
      throw ProxyRefusal(sqlState: "57P03", message: error.message, hint: "Try again.")
    }
  }

  func wakePooled(
    _ endpointID: String, role: String, verifier: String
  ) async throws -> ComputeAddress {
    guard let poolers else {
      throw ProxyRefusal(
        sqlState: "0A000", message: "this server has no pooler",
        hint: "Leave '-pooler' out, or install the package pgbouncer on the server.")
    }
    let compute = try await running(endpointID)
    guard let project = try await directory.project(of: endpointID) else {
      throw ProxyRefusal(sqlState: "08004", message: "endpoint '\(endpointID)' is gone")
    }
    return ComputeAddress(
      socketPath: try await poolers.socket(
        endpoint: endpointID, project: project, compute: compute, role: role, verifier: verifier))
  }

  func hasDatabase(_ name: String, endpointID: String) async throws -> Bool {
    try await running(endpointID).onSession(
      "postgres", application: "exzo-proxy", options: "-c search_path=pg_catalog"
    ) {
      try $0.query("SELECT FROM pg_database WHERE datname = $1", parameters: [.text(name)])
        .rowCount > 0
    }
  }

  private func running(_ endpointID: String) async throws -> RunningCompute {
    do {
      return try await directory.wake(endpointID)
    } catch let error as ControlPlaneError {
      // Appendix A: configuration_limit_exceeded, cannot_connect_now.
      let state = error.code == .quotaExceeded ? "53400" : "57P03"
      throw ProxyRefusal(sqlState: state, message: error.message, hint: error.hint)
    }
  }

  func record(transfer: TransferCount) {
    let (key, kind) = (transfer.endpointID, transfer.kind.rawValue)
    guard let branch = PastSessions.branch(ofKey: key) else {
      return directory.record(transfer: transfer.bytes, endpointID: key, kind: kind)
    }
    guard let endpoint = countedFor.withLock({ $0[key] }) else {
      return directory.record(transfer: transfer.bytes, branchID: branch, kind: kind)
    }
    directory.record(transfer: transfer.bytes, endpointID: endpoint, kind: kind)
  }

  func sessionOpened(endpointID: String) {
    if !PastSessions.isKey(endpointID) { directory.sessionOpened(endpointID: endpointID) }
  }

  func sessionClosed(endpointID: String) {
    if !PastSessions.isKey(endpointID) { directory.sessionClosed(endpointID: endpointID) }
  }
}

extension ComputeAddress {
  /// A replica may hold passwords that are older than today's, which the proxy has asked for.
  fileprivate init(_ compute: RunningCompute, trustsProxy: Bool = false) {
    self.init(
      socketPath: "\(compute.socketDirectory)/.s.PGSQL.\(compute.port)",
      trustsProxy: trustsProxy || compute.isReplica)
  }
}

extension PastSessions.Moment {
  fileprivate init(_ moment: ProxyTarget.Moment) {
    switch moment {
    case .lsn(let text): self = .lsn(text)
    case .timestamp(let text): self = .timestamp(text)
    }
  }
}
