import Foundation

extension API {
  /// How a project follows a server that lives elsewhere.
  public enum AttachmentStatus: String, WireEnumeration {
    /// The data directory is being copied.
    case copying
    /// Every commit there arrives here.
    case following
    case detaching
    /// Over, and the server is as it was; history stays.
    case detached
    /// Could not be begun, or cannot go on.
    case failed
    /// The machine that followed was lost.
    case interrupted
  }

  /// A server that lives elsewhere, and how the project follows it.
  public struct Attachment: Codable, Hashable, Sendable {
    public var projectID: String
    /// The branch whose history is the server's.
    public var branchID: String
    public var status: AttachmentStatus
    public var host: String
    public var port: Int
    public var user: String
    public var database: String
    /// The replication slot there.
    public var slot: String
    public var systemIdentifier: String
    public var serverVersion: String
    public var dataChecksums: Bool
    public var walSegmentBytes: Int
    public var copiedBytes: Int?
    public var totalBytes: Int?
    /// Whether WAL comes in now; absent where nothing follows.
    public var streaming: Bool?
    /// The end of the server's WAL, as last heard.
    public var sourceLSN: String?
    public var receivedLSN: String?
    /// Up to where it is in the object store.
    public var storedLSN: String?
    /// Age of the oldest commit that is not in the object store; while nothing comes in, of what is held.
    public var lagSeconds: Double?
    /// Why it cannot go on, or, where it goes on trying, what stands in the way.
    public var error: String?
    /// What is different on this machine, and what to do about it; absent where nothing is.
    public var notes: [String]?
    /// How long nothing has come in; absent where WAL comes in.
    public var awaySeconds: Double?
    /// Since when nothing comes in.
    public var awaySince: Date?
    /// Until when all that the server wrote is held; absent where WAL comes in, or nothing has come since following
    /// began again.
    public var heldUntil: Date?
    public var createdAt: Date
    public var detachedAt: Date?

    public init(
      projectID: String, branchID: String, status: AttachmentStatus, host: String, port: Int,
      user: String, database: String, slot: String, systemIdentifier: String,
      serverVersion: String, dataChecksums: Bool, walSegmentBytes: Int, error: String?,
      createdAt: Date, detachedAt: Date?
    ) {
      self.projectID = projectID
      self.branchID = branchID
      self.status = status
      self.host = host
      self.port = port
      self.user = user
      self.database = database
      self.slot = slot
      self.systemIdentifier = systemIdentifier
      self.serverVersion = serverVersion
      self.dataChecksums = dataChecksums
      self.walSegmentBytes = walSegmentBytes
      self.error = error
      self.createdAt = createdAt
      self.detachedAt = detachedAt
    }

    enum CodingKeys: String, CodingKey {
      case status, host, port, user, database, slot, streaming, error, notes
      case projectID = "project_id"
      case branchID = "branch_id"
      case systemIdentifier = "system_identifier"
      case serverVersion = "server_version"
      case dataChecksums = "data_checksums"
      case walSegmentBytes = "wal_segment_bytes"
      case copiedBytes = "copied_bytes"
      case totalBytes = "total_bytes"
      case sourceLSN = "source_lsn"
      case receivedLSN = "received_lsn"
      case storedLSN = "stored_lsn"
      case lagSeconds = "lag_seconds"
      case awaySeconds = "away_seconds"
      case awaySince = "away_since"
      case heldUntil = "held_until"
      case createdAt = "created_at"
      case detachedAt = "detached_at"
    }
  }

  /// The body of `POST /projects/attach`.
  public struct AttachRequest: Codable, Hashable, Sendable {
    public var source: AttachSource
    public var project: AttachedProject?

    public init(source: AttachSource, project: AttachedProject? = nil) {
      self.source = source
      self.project = project
    }
  }

  public struct AttachSource: Codable, Hashable, Sendable {
    /// `postgresql://user:password@host:port/database?sslmode=…`; nothing else is taken.
    public var connectionString: String
    /// PEM of the authorities that the server's certificate is checked against with sslmode verify-ca and
    /// verify-full; this machine's where it is absent.
    public var rootCertificate: String?

    public init(connectionString: String, rootCertificate: String? = nil) {
      self.connectionString = connectionString
      self.rootCertificate = rootCertificate
    }

    enum CodingKeys: String, CodingKey {
      case connectionString = "connection_string"
      case rootCertificate = "root_certificate"
    }
  }

  /// The body of `PATCH /projects/{project_id}/attachment`.
  public struct AttachmentUpdateRequest: Codable, Hashable, Sendable {
    /// Where the same server is from now on, and who connects to it. What a connection string leaves out is
    /// as in a new one, but for the password and the certificate, which stay. Absent: as it was.
    public var source: AttachSource?
    /// Copy the server anew, where following cannot go on: what the branch held becomes a branch beside it.
    public var copyAnew: Bool?

    public init(source: AttachSource? = nil, copyAnew: Bool? = nil) {
      self.source = source
      self.copyAnew = copyAnew
    }

    enum CodingKeys: String, CodingKey {
      case source
      case copyAnew = "copy_anew"
    }
  }

  /// Of the project that is made for an attached server.
  public struct AttachedProject: Codable, Hashable, Sendable {
    public var name: String?
    public var historyRetentionSeconds: Int?

    public init(name: String? = nil, historyRetentionSeconds: Int? = nil) {
      self.name = name
      self.historyRetentionSeconds = historyRetentionSeconds
    }

    enum CodingKeys: String, CodingKey {
      case name
      case historyRetentionSeconds = "history_retention_seconds"
    }
  }

  /// The answer of `POST /projects/attach`.
  public struct AttachedResponse: Codable, Hashable, Sendable {
    public var project: Project
    public var branch: Branch
    /// The role that branches are used as; it is made on them, never on the server.
    public var roles: [Role]
    public var databases: [Database]
    public var attachment: Attachment
    public var operations: [Operation]

    public init(
      project: Project, branch: Branch, roles: [Role], databases: [Database],
      attachment: Attachment, operations: [Operation]
    ) {
      self.project = project
      self.branch = branch
      self.roles = roles
      self.databases = databases
      self.attachment = attachment
      self.operations = operations
    }
  }

  /// The answer of `GET /projects/{project_id}/attachment`.
  public struct AttachmentResponse: Codable, Hashable, Sendable {
    public var attachment: Attachment

    public init(attachment: Attachment) { self.attachment = attachment }
  }

  /// The body of `POST /projects/{project_id}/detach`.
  public struct DetachRequest: Codable, Hashable, Sendable {
    /// End although the server does not answer: its slot stays, and keeps WAL there until somebody drops it.
    public var keepSlot: Bool?
    /// End although the object store has not taken the last WAL that came: it is lost, unless the server still has it.
    public var giveUpWAL: Bool?

    public init(keepSlot: Bool? = nil, giveUpWAL: Bool? = nil) {
      self.keepSlot = keepSlot
      self.giveUpWAL = giveUpWAL
    }

    enum CodingKeys: String, CodingKey {
      case keepSlot = "keep_slot"
      case giveUpWAL = "give_up_wal"
    }
  }

  /// The answer of `PATCH /projects/{project_id}/attachment` and `POST /projects/{project_id}/detach`.
  public struct AttachmentOperations: Codable, Hashable, Sendable {
    public var attachment: Attachment
    public var operations: [Operation]

    public init(attachment: Attachment, operations: [Operation]) {
      self.attachment = attachment
      self.operations = operations
    }
  }
}
