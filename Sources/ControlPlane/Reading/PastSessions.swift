import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Time-travel sessions: what the proxy needs to connect a client to a past moment of a branch.
public struct PastSessions: Sendable {
  let core: Core

  /// What a client asked for, as it wrote it.
  public enum Moment: Sendable, Hashable {
    case lsn(String)
    case timestamp(String)
  }

  /// A role at a moment.
  public struct Authentication: Sendable {
    /// Names branch and moment for ``open(_:)``.
    public var key: String
    /// Today's verifier: old passwords do not come back to life.
    public var scramVerifier: String
    /// Addresses that may connect; `nil` where all may.
    public var allowedAddresses: AddressRules?
  }

  /// A compute that serves the moment. It stays while clients do something there, and half a minute
  /// more.
  public struct Session: Sendable {
    public var compute: RunningCompute
    /// The branch's read_write endpoint, for counting; `nil` where it has none: then the branch counts.
    public var countedFor: String?
  }

  static let keyPrefix = "past:"

  /// Whether ``open(_:)`` is to be called for what the proxy wants to wake.
  public static func isKey(_ text: String) -> Bool { text.hasPrefix(keyPrefix) }

  /// The branch of a key; `nil` where it is none.
  public static func branch(ofKey key: String) -> String? {
    guard isKey(key) else { return nil }
    return key.dropFirst(keyPrefix.count).split(separator: ":").first.map(String.init)
  }

  /// `nil` where branch or role does not exist or the role cannot log in. Opens nothing.
  ///
  /// - Parameter target: a branch's id, or an endpoint's, which means its branch.
  /// - Throws: ``ControlPlaneError`` for a moment that is neither an LSN nor a time.
  public func authentication(
    target: String, moment: Moment, role: String
  ) async throws -> Authentication? {
    let found = try await core.catalog.read { tx -> (RoleRecord, AddressRules?)? in
      let id =
        target.hasPrefix("br-") ? BranchID(target) : try tx.endpoint(EndpointID(target))?.branchID
      guard let id, let branch = try tx.branch(id), let project = try tx.project(branch.projectID),
        let row = try tx.role(role, of: id)
      else { return nil }
      return (row, try EndpointDirectory.allowedAddresses(project, id, tx))
    }
    guard let (row, rules) = found, row.canLogin, !row.isDropped,
      let verifier = row.scramVerifier
    else { return nil }
    // A stranger learns nothing of the moment: it is read when the password is proved.
    let text =
      switch moment {
      case .lsn(let text): "lsn:\(text)"
      case .timestamp(let text): "time:\(text)"
      }
    return Authentication(
      key: "\(Self.keyPrefix)\(row.branchID):\(text)", scramVerifier: verifier,
      allowedAddresses: rules)
  }

  /// Opens the moment, or joins those who have it open.
  /// - Throws: ``ControlPlaneError`` for a moment that is malformed or outside the window, for a quota that is
  /// used up, and where there is no room.
  public func open(_ key: String) async throws -> Session {
    let parts = key.dropFirst(Self.keyPrefix.count).split(
      separator: ":", maxSplits: 2, omittingEmptySubsequences: false
    ).map(String.init)
    guard parts.count == 3 else {
      throw ControlPlaneError(.branchNotFound, "open a moment: '\(key)' names none")
    }
    let moment = try Self.moment(kind: parts[1], parts[2])
    let (resolver, endpoint) = try await core.catalog.read { tx in
      guard let branch = try tx.branch(BranchID(parts[0])),
        let project = try tx.project(branch.projectID), project.deletedAt == nil
      else {
        throw ControlPlaneError(.branchNotFound, "open a moment: branch '\(parts[0])' is gone")
      }
      try QuotaService(core: core).require(
        project, tx, doing: "open a moment of branch '\(branch.name)'")
      return (
        try MomentResolver(core, project, branch, tx),
        try tx.endpoints(of: branch.id).first { $0.type == .readWrite }
      )
    }
    let resolved = try await resolver.resolve(moment)
    let branch = resolver.branch
    let roles = try await core.catalog.read { tx -> [RoleRequest] in
      // A server elsewhere has none of the branch's roles.
      guard try tx.followsSource(CatalogLineID(resolved.lineID), in: branch.projectID)
      else { return [] }
      return try tx.roles(of: branch.id).filter { !$0.isDropped }.map {
        RoleRequest(name: $0.name, scramVerifier: $0.scramVerifier, login: $0.canLogin)
      }
    }
    let compute = try await core.reading.use(
      resolved, of: branch, resolver.project, core, roles: roles, awaitsClient: true
    ) { $0 }
    return Session(compute: compute, countedFor: endpoint?.id.rawValue)
  }

  private static func moment(kind: String, _ text: String) throws -> MomentRequest {
    if kind == "lsn" {
      guard let lsn = LSN(text) else {
        throw ControlPlaneError.value("exzo_lsn", text, allowed: "an LSN like 0/1A2B3C")
      }
      return .lsn(lsn)
    }
    guard let time = RFC3339.date(text) else {
      throw ControlPlaneError.value(
        "exzo_timestamp", text, allowed: "a time like 2026-11-23T10:00:00Z")
    }
    return .time(time)
  }
}
