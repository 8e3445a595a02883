import APITypes
import Catalog
import Foundation

/// Snapshots: kept, named moments of branches. They are rows alone: the history that they need is
/// there already, and their rows keep it from being collected.
public struct SnapshotService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  /// What `POST …/snapshot` asks for; both `lsn` and `time` absent are the head.
  public struct Request: Sendable {
    public var lsn: String?
    public var time: Date?
    public var name: String?
    public var expiresAt: Date?

    public init(
      lsn: String? = nil, time: Date? = nil, name: String? = nil, expiresAt: Date? = nil
    ) {
      self.lsn = lsn
      self.time = time
      self.name = name
      self.expiresAt = expiresAt
    }
  }

  public func create(
    _ request: Request, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.SnapshotOperations {
    try SettingsRules.name("name", request.name)
    try Self.checkExpiry("expires_at", request.expiresAt, core.clock.now)
    let moment = try MomentRequest(
      lsn: request.lsn, time: request.time, names: ("lsn", "timestamp"))
    let resolver = try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      return try MomentResolver(core, project, try core.branch(tx, branch, of: project.id), tx)
    }
    let resolved = try await resolver.resolve(moment)
    let record = self.record(
      resolver, moment, resolved, name: request.name, isManual: true, expiresAt: request.expiresAt)
    let row = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      if let name = request.name { try Self.requireFree(name, branch, tx) }
      return try tx.insert(record)
    }
    return API.SnapshotOperations(snapshot: presenter.snapshot(row), operations: [])
  }

  /// The row of a snapshot of a moment that was resolved.
  func record(
    _ resolver: MomentResolver, _ moment: MomentRequest, _ resolved: ResolvedMoment, name: String?,
    isManual: Bool, expiresAt: Date?
  ) -> SnapshotRecord {
    let now = core.clock.now
    let time = resolver.time(of: moment, resolved)
    return SnapshotRecord(
      id: core.names.snapshot(), accountID: resolver.project.accountID, plan: resolver.project.plan,
      projectID: resolver.project.id, branchID: resolver.branch.id,
      lineID: CatalogLineID(resolved.lineID), lsn: resolved.lsn, moment: time,
      name: name ?? "\(resolver.branch.name) at \(RFC3339.text(time ?? now))", isManual: isManual,
      expiresAt: expiresAt, createdAt: now)
  }

  /// A name that was given means one snapshot of the branch; names that schedules and requests without
  /// one get tell the time, and are not held to it.
  private static func requireFree(
    _ name: String, _ branch: BranchRecord, _ tx: CatalogTransaction
  ) throws {
    let others = try tx.snapshots(of: branch.projectID)
    guard let other = others.first(where: { $0.branchID == branch.id && $0.name == name }) else {
      return
    }
    throw ControlPlaneError(
      .snapshotAlreadyExists,
      "name a snapshot '\(name)': '\(other.id)' of branch '\(branch.name)' has that name",
      hint: "choose another name, or delete or rename that one")
  }

  static func checkExpiry(_ field: String, _ date: Date?, _ now: Date) throws {
    guard let date, date <= now else { return }
    throw ControlPlaneError.value(field, RFC3339.text(date), allowed: "a time in the future")
  }

  public func list(project: ProjectID, account: AccountID) async throws -> [API.Snapshot] {
    try await core.catalog.read { tx in
      try tx.snapshots(of: try core.project(tx, project, of: account).id).map(presenter.snapshot)
    }
  }

  public func update(
    _ id: SnapshotID, _ change: API.SnapshotUpdate, project: ProjectID, account: AccountID
  ) async throws -> API.Snapshot {
    try SettingsRules.name("snapshot.name", change.name)
    return try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      var snapshot = try Self.find(id, project, tx)
      if let name = change.name, name != snapshot.name {
        if let branch = try tx.branch(snapshot.branchID, of: project.id) {
          try Self.requireFree(name, branch, tx)
        }
        snapshot.name = name
      }
      switch change.expiresAt {
      case .absent: break
      case .null: snapshot.expiresAt = nil
      case .value(let date):
        try Self.checkExpiry("snapshot.expires_at", date, core.clock.now)
        snapshot.expiresAt = date
      }
      try tx.update(snapshot)
      return presenter.snapshot(snapshot)
    }
  }

  /// Deleting a deleted one answers as the first time.
  public func delete(
    _ id: SnapshotID, project: ProjectID, account: AccountID
  ) async throws -> [API.Operation] {
    try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account, includesDeleted: true)
      guard var snapshot = try tx.snapshot(id, of: project.id) else {
        throw Self.notFound(id, project)
      }
      guard snapshot.deletedAt == nil, project.deletedAt == nil else { return [] }
      snapshot.deletedAt = core.clock.now
      try tx.update(snapshot)
      return []
    }
  }

  static func find(
    _ id: SnapshotID, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> SnapshotRecord {
    guard let snapshot = try tx.snapshot(id, of: project.id), snapshot.deletedAt == nil else {
      throw notFound(id, project)
    }
    return snapshot
  }

  private static func notFound(_ id: SnapshotID, _ project: ProjectRecord) -> ControlPlaneError {
    ControlPlaneError(
      .snapshotNotFound, "find snapshot '\(id)' in project '\(project.id)': there is none")
  }
}

extension Presenter {
  func snapshot(_ record: SnapshotRecord) -> API.Snapshot {
    API.Snapshot(
      id: record.id.rawValue, name: record.name, lsn: record.lsn.description,
      timestamp: record.moment, sourceBranchID: record.branchID.rawValue,
      createdAt: record.createdAt, expiresAt: record.expiresAt, manual: record.isManual)
  }
}
