/// All that the proxy knows of the platform behind it.
///
/// The proxy calls it for every connection, from any thread, many at once.
public protocol ProxyDirectory: Sendable {
  /// What is needed to authenticate `role` at `target`; nil where one of them does not exist.
  ///
  /// Never starts anything: the caller is still a stranger. Both answers should take the same time.
  /// - Throws: ``ProxyRefusal`` for what a stranger may be told, anything else for a failure.
  func authentication(
    target: ProxyTarget, role: String
  ) async throws -> RoleAuthentication?

  /// Makes the compute of `endpointID` run and returns where it listens.
  ///
  /// Called after a successful login only; again, after a pause, when nothing listened there. The
  /// proxy stops waiting, and cancels the task, at its own deadline.
  func wake(_ endpointID: String) async throws -> ComputeAddress

  /// The same through the endpoint's pooler, which then knows the role with this verifier.
  func wakePooled(
    _ endpointID: String, role: String, verifier: String
  ) async throws -> ComputeAddress

  /// Whether the running compute of `endpointID` has a database of that name. A pooler does not say it: who asks for
  /// one that is not there waits. Called after a successful login only.
  func hasDatabase(_ name: String, endpointID: String) async throws -> Bool

  /// Adds bytes sent to clients. Called at most once a second for a session, and when it ends;
  /// each byte is reported once. Must not block.
  func record(transfer: TransferCount)

  /// A client has logged in and its compute has accepted it; endpoints with sessions are in use.
  func sessionOpened(endpointID: String)
  /// The counterpart of ``sessionOpened(endpointID:)``, called once for each.
  func sessionClosed(endpointID: String)
}

extension ProxyDirectory {
  /// Without a pooler a pooled name means the compute itself.
  public func wakePooled(
    _ endpointID: String, role: String, verifier: String
  ) async throws -> ComputeAddress { try await wake(endpointID) }

  public func hasDatabase(_ name: String, endpointID: String) async throws -> Bool { true }
}

/// What ``ProxyDirectory`` knows of one role at one target.
public struct RoleAuthentication: Sendable {
  /// PostgreSQL's text form, `SCRAM-SHA-256$…`; the compute holds the same.
  public var scramVerifier: String
  /// The endpoint to wake and to count for. For a moment: the one that serves it.
  public var endpointID: String
  /// Whether `replication` is accepted at startup.
  public var allowsReplication: Bool
  /// Told to a client that has proved its password, instead of waking: "the endpoint is disabled".
  public var refusal: ProxyRefusal?
  /// Whether a client at this numeric address may connect; nil where all may. Told after the proof
  /// of the password, so that strangers learn nothing of it.
  public var admits: (@Sendable (String) -> Bool)?

  public init(
    scramVerifier: String, endpointID: String, allowsReplication: Bool = false,
    refusal: ProxyRefusal? = nil, admits: (@Sendable (String) -> Bool)? = nil
  ) {
    self.scramVerifier = scramVerifier
    self.endpointID = endpointID
    self.allowsReplication = allowsReplication
    self.refusal = refusal
    self.admits = admits
  }

  /// The same with a refusal where a client at `address` may not connect. A client without one
  /// came over a unix socket.
  func checking(address: String?) -> RoleAuthentication {
    guard let admits, let address, !admits(address) else { return self }
    var refused = self
    refused.refusal = .addressNotAllowed(address)
    return refused
  }
}

/// Where a running compute listens.
public struct ComputeAddress: Sendable, Equatable {
  /// The whole path, `…/.s.PGSQL.5432`.
  public var socketPath: String
  /// The compute lets our user in as any role without a proof: it holds passwords of another time.
  public var trustsProxy: Bool

  public init(socketPath: String, trustsProxy: Bool = false) {
    self.socketPath = socketPath
    self.trustsProxy = trustsProxy
  }
}

/// Bytes of the PostgreSQL protocol sent to clients, before their encryption.
public struct TransferCount: Sendable, Equatable {
  public var endpointID: String
  public var kind: SessionKind
  public var bytes: Int

  public init(endpointID: String, kind: SessionKind, bytes: Int) {
    self.endpointID = endpointID
    self.kind = kind
    self.bytes = bytes
  }
}

/// What a session is for, as far as its startup packet tells.
public enum SessionKind: String, Sendable, CaseIterable, Codable {
  case query
  case replication
  case dump
  case restore
  /// Through the pooler.
  case pooled
  /// At a moment of the past.
  case timeTravel = "time_travel"

  /// From the startup parameters: `replication`, else the `application_name` that PostgreSQL's own
  /// programs give; else from what the client asked to be connected to.
  init(parameters: [StartupParameter], target: ProxyTarget) {
    let names = Dictionary(parameters.map { ($0.name, $0.value) }) { $1 }
    switch names["application_name"] {
    case _ where ReplicationMode(names["replication"]) != .none: self = .replication
    case "pg_dump", "pg_dumpall": self = .dump
    case "pg_restore": self = .restore
    case _ where target.moment != nil: self = .timeTravel
    default: self = target.isPooled ? .pooled : .query
    }
  }
}

/// The `replication` startup parameter.
enum ReplicationMode {
  case none, physical, database

  init(_ value: String?) {
    switch value?.lowercased() {
    case nil, "false", "off", "no", "0", "f", "n": self = .none
    case "database": self = .database
    // Whatever the server may take for true counts as true.
    default: self = .physical
    }
  }
}
