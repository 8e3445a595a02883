import Foundation

extension API {
  /// A kept, named moment of a branch.
  public struct Snapshot: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var lsn: String?
    public var timestamp: Date?
    public var sourceBranchID: String?
    public var createdAt: Date
    public var expiresAt: Date?
    /// Made on request, not by a schedule.
    public var manual: Bool?
    /// Bytes of the databases at the moment, where they were measured.
    public var fullSize: Int?

    public init(
      id: String, name: String, lsn: String?, timestamp: Date?, sourceBranchID: String?,
      createdAt: Date, expiresAt: Date?, manual: Bool?, fullSize: Int? = nil
    ) {
      self.id = id
      self.name = name
      self.lsn = lsn
      self.timestamp = timestamp
      self.sourceBranchID = sourceBranchID
      self.createdAt = createdAt
      self.expiresAt = expiresAt
      self.manual = manual
      self.fullSize = fullSize
    }

    enum CodingKeys: String, CodingKey {
      case id, name, lsn, timestamp, manual
      case sourceBranchID = "source_branch_id"
      case createdAt = "created_at"
      case expiresAt = "expires_at"
      case fullSize = "full_size"
    }
  }

  /// The answer that carries one snapshot.
  public struct SnapshotResponse: Codable, Hashable, Sendable {
    public var snapshot: Snapshot

    public init(snapshot: Snapshot) { self.snapshot = snapshot }
  }

  /// A snapshot and the operations that the request started.
  public struct SnapshotOperations: Codable, Hashable, Sendable {
    public var snapshot: Snapshot
    public var operations: [Operation]

    public init(snapshot: Snapshot, operations: [Operation]) {
      self.snapshot = snapshot
      self.operations = operations
    }
  }

  /// A project's snapshots, newest first.
  public struct SnapshotsResponse: Codable, Hashable, Sendable {
    public var snapshots: [Snapshot]

    public init(snapshots: [Snapshot]) { self.snapshots = snapshots }
  }

  /// What is to change; a null `expires_at` removes the expiry.
  public struct SnapshotUpdate: Codable, Hashable, Sendable {
    public var name: String?
    public var expiresAt: Patch<Date>

    public init(name: String? = nil, expiresAt: Patch<Date> = .absent) {
      self.name = name
      self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
      case name
      case expiresAt = "expires_at"
    }
  }

  /// The body of `PATCH …/snapshots/{snapshot_id}`.
  public struct SnapshotUpdateRequest: Codable, Hashable, Sendable {
    public var snapshot: SnapshotUpdate

    public init(snapshot: SnapshotUpdate) { self.snapshot = snapshot }
  }

  /// The body of `POST …/snapshots/{snapshot_id}/restore`; may be absent as a whole.
  public struct SnapshotRestoreRequest: Codable, Hashable, Sendable {
    /// The new branch's name.
    public var name: String?
    /// The branch that the new one replaces; the snapshot's own where absent.
    public var targetBranchID: String?
    /// Whether it replaces it at once.
    public var finalizeRestore: Bool?
    /// Replaces a protected branch, too.
    public var force: Bool?

    public init(
      name: String? = nil, targetBranchID: String? = nil, finalizeRestore: Bool? = nil,
      force: Bool? = nil
    ) {
      self.name = name
      self.targetBranchID = targetBranchID
      self.finalizeRestore = finalizeRestore
      self.force = force
    }

    enum CodingKeys: String, CodingKey {
      case name, force
      case targetBranchID = "target_branch_id"
      case finalizeRestore = "finalize_restore"
    }
  }

  /// The answer of `POST …/snapshots/{snapshot_id}/restore`.
  public struct RestoredSnapshot: Codable, Hashable, Sendable {
    public var branch: Branch
    public var endpoints: [Endpoint]?
    public var operations: [Operation]

    public init(branch: Branch, endpoints: [Endpoint]?, operations: [Operation]) {
      self.branch = branch
      self.endpoints = endpoints
      self.operations = operations
    }
  }
}
