import ControlPlane
import PostgresProxy

/// The proxy's way to the control plane.
struct DirectoryAdapter: ProxyDirectory {
  let directory: EndpointDirectory
  var poolers: Poolers?

  func authentication(target: ProxyTarget, role: String) async throws -> RoleAuthentication? {
    guard target.moment == nil else {
      throw ProxyRefusal(
        sqlState: "0A000", message: "time-travel sessions are not available yet",
        hint: "Create a branch at the moment: exzo branches create --parent NAME@TIME.")
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
    let compute = try await running(endpointID)
    return ComputeAddress(socketPath: "\(compute.socketDirectory)/.s.PGSQL.\(compute.port)")
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
    directory.record(
      transfer: transfer.bytes, endpointID: transfer.endpointID, kind: transfer.kind.rawValue)
  }

  func sessionOpened(endpointID: String) { directory.sessionOpened(endpointID: endpointID) }
  func sessionClosed(endpointID: String) { directory.sessionClosed(endpointID: endpointID) }
}
