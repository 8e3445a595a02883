import Foundation

/// A server that lives elsewhere, and the project that follows it.
public struct AttachmentRecord: CatalogRecord, Hashable {
  public static let table = "attachments"
  public static let key = ["project_id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public enum Status: String, Codable, Sendable {
    case copying, following, detaching, detached, failed
    /// The machine that followed was lost, and a version came that did not go on with it.
    case interrupted
  }

  /// What the server said of itself, and what its certificate is checked against.
  public struct Source: Codable, Hashable, Sendable {
    public var systemIdentifier: UInt64
    /// Such as `15.14`.
    public var serverVersion: String
    public var major: Int
    public var segmentSize: UInt64
    public var hasChecksums: Bool
    /// The role that `initdb` made.
    public var bootstrapRole: String
    public var databases: [String]
    /// Settings that go along with the data.
    public var settings: [String: String]
    public var bytes: Int
    /// PEM of authorities; `nil` for this machine's.
    public var rootCertificate: String?
    /// When its postmaster began, microseconds since 1970 by its own clock; absent in records of earlier versions.
    public var startedAt: Int?
    /// What is different on this machine, and does not keep it from being followed.
    public var notes: [String]?
    /// Slots there of installations like this one, and whether somebody streams from each. Known while the server is
    /// looked at, and not stored.
    public var followers: [String: Bool] = [:]
    /// What is free on this machine's disk, where its copy would lie. Known while the server is looked at, and not stored.
    public var freeBytes: Int?

    enum CodingKeys: String, CodingKey {
      case systemIdentifier, serverVersion, major, segmentSize, hasChecksums, bootstrapRole
      case databases, settings, bytes, rootCertificate, startedAt, notes
    }

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

  public var projectID: ProjectID
  public var accountID: AccountID
  public var plan: String
  public var branchID: BranchID
  public var lineID: CatalogLineID
  public var host: String
  public var port: Int
  public var roleName: String
  public var databaseName: String
  public var sslMode: String?
  public var sealedPassword: SealedBytes?
  public var slot: String
  public var source: Source
  public var status: Status
  public var error: String?
  public var createdAt: Date
  public var updatedAt: Date
  public var detachedAt: Date?

  public init(
    projectID: ProjectID, accountID: AccountID, plan: String, branchID: BranchID,
    lineID: CatalogLineID, host: String, port: Int, roleName: String, databaseName: String,
    sslMode: String?, sealedPassword: SealedBytes?, slot: String, source: Source, status: Status,
    createdAt: Date, updatedAt: Date
  ) {
    self.projectID = projectID
    self.accountID = accountID
    self.plan = plan
    self.branchID = branchID
    self.lineID = lineID
    self.host = host
    self.port = port
    self.roleName = roleName
    self.databaseName = databaseName
    self.sslMode = sslMode
    self.sealedPassword = sealedPassword
    self.slot = slot
    self.source = source
    self.status = status
    self.createdAt = createdAt
    self.updatedAt = updatedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case plan, host, port, slot, source, status, error
    case projectID = "project_id"
    case accountID = "account_id"
    case branchID = "branch_id"
    case lineID = "line_id"
    case roleName = "role_name"
    case databaseName = "database_name"
    case sslMode = "ssl_mode"
    case sealedPassword = "sealed_password"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
    case detachedAt = "detached_at"
  }
}
