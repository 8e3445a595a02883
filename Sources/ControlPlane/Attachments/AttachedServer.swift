import APITypes
import Catalog
import Foundation
import PostgresClient
import PostgresFormat

/// Where a server elsewhere is, and who connects to it.
public struct AttachedServer: Hashable, Sendable {
  public var host: String
  public var port: Int
  public var user: String
  public var password: String?
  public var database: String
  public var sslMode: String?
  /// PEM of the authorities that its certificate is checked against; `nil` for this machine's.
  public var rootCertificate: String?

  public init(
    host: String, port: Int, user: String, password: String?, database: String, sslMode: String?,
    rootCertificate: String? = nil
  ) {
    self.host = host
    self.port = port
    self.user = user
    self.password = password
    self.database = database
    self.sslMode = sslMode
    self.rootCertificate = rootCertificate
  }

  private static let longestCertificate = 256 << 10

  /// As a request names it.
  /// - Throws: ``ControlPlaneError`` `.badValue`, without the password.
  init(_ source: API.AttachSource) throws {
    try self.init(connectionString: source.connectionString)
    guard let certificate = source.rootCertificate else { return }
    guard certificate.contains("-----BEGIN CERTIFICATE-----"),
      certificate.utf8.count <= Self.longestCertificate, !certificate.contains("\0")
    else {
      throw ControlPlaneError(
        .badValue,
        "'source.root_certificate' must be PEM (-----BEGIN CERTIFICATE-----), 256 KiB at most")
    }
    guard let mode = sslMode, mode.hasPrefix("verify-") else {
      throw ControlPlaneError(
        .badValue, "'source.root_certificate' is used with sslmode verify-ca and verify-full only",
        hint: "add sslmode=verify-full to the connection string")
    }
    rootCertificate = certificate
  }

  /// Takes a connection string apart; only host, port, user, password, dbname and sslmode are taken.
  /// - Throws: ``ControlPlaneError`` `.badValue`, without the password.
  init(connectionString: String) throws {
    let parameters: ConnectionParameters
    do {
      parameters = try ConnectionParameters(connectionString: connectionString)
    } catch let error as PostgresError {
      throw ControlPlaneError(.badValue, "'source.connection_string': \(error.message)")
    }
    guard parameters.options == nil else {
      throw ControlPlaneError(
        .badValue, "'source.connection_string': 'options' is not taken",
        hint: "name host, port, user, password, dbname and sslmode")
    }
    let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
    if let mode = parameters.sslMode, !modes.contains(mode) {
      throw ControlPlaneError.value(
        "source.connection_string", "sslmode=\(mode)", allowed: modes.joined(separator: ", "))
    }
    self.init(
      host: parameters.host, port: parameters.port, user: parameters.user,
      password: parameters.password, database: parameters.database, sslMode: parameters.sslMode)
  }
}

/// What a server says of itself; `SourceFacts` in Compute.
public typealias SourceDescription = AttachmentRecord.Source

/// A line that is to follow a server.
public struct FollowRequest: Hashable, Sendable {
  public var lineID: String
  public var projectID: String
  public var server: AttachedServer
  /// The slot's name there.
  public var slot: String
  public var description: SourceDescription

  public init(
    lineID: String, projectID: String, server: AttachedServer, slot: String,
    description: SourceDescription
  ) {
    self.lineID = lineID
    self.projectID = projectID
    self.server = server
    self.slot = slot
    self.description = description
  }
}

/// How far a line is with following.
public struct FollowStatus: Hashable, Sendable {
  public enum Phase: String, Sendable { case copying, storing, following, failed }

  public var phase: Phase
  public var copiedBytes: Int
  /// About; 0 before the copy has begun.
  public var totalBytes: Int
  public var failure: String?
  /// Whether WAL comes in now.
  public var isStreaming: Bool
  /// The end of the source's WAL, as last heard; of what came; of what is stored.
  public var sourceLSN: LSN
  public var receivedLSN: LSN
  public var uploadedLSN: LSN
  /// Age of the oldest commit that is not stored.
  public var lagSeconds: Double
  /// What stands in the way while it goes on trying.
  public var trouble: String?
  /// How long nothing has come in.
  public var awaySeconds: Double?
  /// Until when all that the server wrote is held, where it was heard of.
  public var heldUntil: Date?

  public init(
    phase: Phase, copiedBytes: Int, totalBytes: Int, failure: String?, isStreaming: Bool,
    sourceLSN: LSN, receivedLSN: LSN, uploadedLSN: LSN, lagSeconds: Double,
    trouble: String? = nil, awaySeconds: Double? = nil, heldUntil: Date? = nil
  ) {
    self.heldUntil = heldUntil
    self.trouble = trouble
    self.awaySeconds = awaySeconds
    self.phase = phase
    self.copiedBytes = copiedBytes
    self.totalBytes = totalBytes
    self.failure = failure
    self.isStreaming = isStreaming
    self.sourceLSN = sourceLSN
    self.receivedLSN = receivedLSN
    self.uploadedLSN = uploadedLSN
    self.lagSeconds = lagSeconds
  }
}
