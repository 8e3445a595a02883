import Foundation
import PostgresClient
import PostgresFormat

/// A server that lives elsewhere, and that a line follows.
public struct SourceSpecification: Codable, Sendable, Equatable {
  public var host: String
  public var port: Int
  public var user: String
  public var database: String
  public var sslMode: String?
  /// The physical slot that keeps WAL there until the store has it.
  public var slot: String
  /// Addresses that are open although they would be closed; see ``NetworkRules``.
  public var openedNetworks: [String]
  /// What it said of itself when it was attached.
  public var facts: SourceFacts
  /// PEM of the authorities that its certificate is checked against; `nil` for this machine's.
  public var rootCertificate: String?

  public init(
    host: String, port: Int, user: String, database: String, sslMode: String?, slot: String,
    openedNetworks: [String], facts: SourceFacts
  ) {
    self.host = host
    self.port = port
    self.user = user
    self.database = database
    self.sslMode = sslMode
    self.slot = slot
    self.openedNetworks = openedNetworks
    self.facts = facts
  }

  /// The variable that an agent's environment carries the password in: it is on no disk.
  public static let passwordVariable = "EXZO_SOURCE_PASSWORD"

  /// How to reach it, the address not looked up yet.
  public func connection(password: String?) -> ConnectionParameters {
    ConnectionParameters(
      host: host, port: port, user: user, password: password, database: database,
      applicationName: slot, sslMode: sslMode)
  }

  /// Looks the host up and keeps to an address that is open. Blocks the thread.
  public func pinned(_ parameters: ConnectionParameters) throws -> ConnectionParameters {
    try parameters.pinned(NetworkRules(opened: openedNetworks))
  }
}

extension ConnectionParameters {
  /// With the address of the host, where that is open. Blocks the thread.
  public func pinned(_ rules: NetworkRules) throws -> ConnectionParameters {
    var pinned = self
    pinned.hostAddress = try rules.address(of: host)
    return pinned
  }
}

/// What a line has to know of the server that it follows.
public struct SourceFacts: Codable, Sendable, Hashable {
  public var systemIdentifier: UInt64
  /// Such as `15.14`.
  public var serverVersion: String
  public var major: Int
  public var segmentSize: UInt64
  public var hasChecksums: Bool
  /// The role that `initdb` made: the one with OID 10.
  public var bootstrapRole: String
  /// Databases that accept connections, without PostgreSQL's own templates.
  public var databases: [String]
  /// Settings that sessions on its data should find again.
  public var settings: [String: String]
  /// Bytes of all databases.
  public var bytes: Int
  /// When its postmaster began, microseconds since 1970 by its own clock.
  public var startedAt: Int?
  /// Slots there of installations like this one, and whether somebody streams from each.
  public var followers: [String: Bool]?
  /// What is different here, and does not keep it from being followed; `nil` where nothing is.
  public var notes: [String]?

  public init(
    systemIdentifier: UInt64, serverVersion: String, major: Int, segmentSize: UInt64,
    hasChecksums: Bool, bootstrapRole: String, databases: [String], settings: [String: String],
    bytes: Int
  ) {
    self.systemIdentifier = systemIdentifier
    self.serverVersion = serverVersion
    self.major = major
    self.segmentSize = segmentSize
    self.hasChecksums = hasChecksums
    self.bootstrapRole = bootstrapRole
    self.databases = databases
    self.settings = settings
    self.bytes = bytes
  }
}

/// How far a line is with following its source.
public struct SourceStatus: Codable, Sendable, Equatable {
  public enum Phase: String, Codable, Sendable {
    /// The data directory is being copied.
    case copying
    /// The copy becomes the line's first keyframe.
    case storing
    /// Moments can be opened.
    case following
    /// It cannot go on; the reason is beside it.
    case failed
  }

  public var phase: Phase
  public var copiedBytes: Int
  public var totalBytes: Int
  public var failure: String?
  /// Whether WAL comes in now.
  public var isStreaming: Bool
  /// The end of the source's WAL, as last heard.
  public var sourceLSN: LSN
  /// What stands in the way while it goes on trying.
  public var trouble: String?
  /// How long nothing has come in.
  public var awaySeconds: Double?
  /// When it was last heard of and nothing was missing; `nil` where that was never so since the agent began.
  public var heldUntil: Date?
}
