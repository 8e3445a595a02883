import Catalog
import Foundation
import PostgresFormat

/// Computes that serve one moment for reading, and go when nobody has used them for a while.
///
/// *State and invariants*: 1. A moment has one compute at most; those who ask at the same time share
/// it. 2. A row of the catalog is written before a compute is opened and removed after it is gone,
/// so that ``endIdle(_:)`` finds what a killed process left. 3. One that is in use is not ended.
///
/// *Crash*: the next process ends all that it finds; sessions of time travel are cut by that.
///
/// *Concurrency*: an actor; opening and ending go on beside each other.
actor ReadingComputes {
  private struct Key: Hashable {
    var line: String
    var lsn: LSN
    /// Of a server elsewhere, with roles of ours.
    var isAdopted = false
  }

  private struct Entry {
    var id: String
    var opening: Task<RunningCompute, any Error>
    /// Once it is open.
    var compute: RunningCompute?
    var users = 0
    var lastUse: Date
  }

  /// A compute in use; to be given back with ``giveBack(_:_:)``.
  struct Loan: Sendable {
    var id: String
    var compute: RunningCompute
  }

  private var entries: [Key: Entry] = [:]
  /// Whether rows may be there that have no entry: of an earlier process, or of a failed end.
  private var mayHoldForgotten = true

  /// How long one stays after its last use; seconds.
  static let idleSeconds: TimeInterval = 30
  /// How long after its last look one that is in use is looked at again; seconds.
  private static let recheckSeconds: TimeInterval = 5
  /// Above this, further moments are refused: each is a server of its own.
  static let limit = 32

  /// Runs `body` with a compute at the moment; it stays for others when `body` has ended.
  /// - Parameter roles: that are to log in to a moment of a server elsewhere, which does not have them.
  nonisolated func use<Value: Sendable>(
    _ moment: ResolvedMoment, of branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    roles: [RoleRequest] = [],
    _ body: @Sendable (RunningCompute) async throws -> Value
  ) async throws -> Value {
    let loan = try await take(moment, of: branch, project, core, roles: roles)
    do {
      let value = try await body(loan.compute)
      await giveBack(loan.id, core)
      return value
    } catch {
      await giveBack(loan.id, core)
      throw error
    }
  }

  /// Opens the moment, or joins those who have it open.
  func take(
    _ moment: ResolvedMoment, of branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    roles: [RoleRequest] = []
  ) async throws -> Loan {
    let key = Key(line: moment.lineID, lsn: moment.lsn, isAdopted: !roles.isEmpty)
    var entry: Entry
    if let present = entries[key] {
      entry = present
    } else {
      guard entries.count < Self.limit else {
        throw ControlPlaneError(
          .unavailable, "read a past moment: \(Self.limit) moments are open already",
          hint: "try again in half a minute, or make a branch at the moment")
      }
      entry = open(key, branch, project, core, roles)
    }
    entry.users += 1
    entries[key] = entry
    do {
      let compute = try await entry.opening.value
      entries[key]?.compute = compute
      return Loan(id: entry.id, compute: compute)
    } catch {
      forget(key, entry.id)
      throw error
    }
  }

  private func open(
    _ key: Key, _ branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    _ roles: [RoleRequest]
  ) -> Entry {
    let id = core.names.reading()
    let task = Task {
      _ = try await core.catalog.write { tx in
        try tx.insert(
          ReadingComputeRecord(
            id: id, accountID: project.accountID, plan: project.plan, projectID: project.id,
            branchID: branch.id, lineID: CatalogLineID(key.line), lsn: key.lsn,
            createdAt: core.clock.now))
      }
      do {
        return try await core.fleet.openReading(
          ReadingRequest(
            id: id, projectID: project.id.rawValue, lineID: key.line, lsn: key.lsn,
            major: project.pgVersion, settings: ComputeSettings(sharedBuffersMB: 64),
            roles: roles))
      } catch {
        try await Self.end(id, core)
        throw error
      }
    }
    return Entry(id: id, opening: task, lastUse: core.clock.now)
  }

  private func forget(_ key: Key, _ id: String) {
    if entries[key]?.id == id { entries[key] = nil }
  }

  func giveBack(_ id: String, _ core: Core) {
    guard let key = entries.first(where: { $0.value.id == id })?.key else { return }
    entries[key]?.users -= 1
    entries[key]?.lastUse = core.clock.now
  }

  /// Ends the moment's compute at once where nobody has it on loan and no client is at work.
  func closeUnused(_ moment: ResolvedMoment, _ core: Core) async throws {
    let key = Key(line: moment.lineID, lsn: moment.lsn)
    guard let entry = entries[key], entry.users == 0, let compute = entry.compute else { return }
    if try await core.tenants.isInUse(compute, within: Int(Self.idleSeconds)) { return }
    guard entries[key]?.users == 0, entries[key]?.lastUse == entry.lastUse else { return }
    entries[key] = nil
    mayHoldForgotten = true
    try await Self.end(entry.id, core)
  }

  /// Ends those that nobody has used for ``idleSeconds``.
  func endIdle(_ core: Core) async throws {
    let now = core.clock.now
    let idle = entries.filter {
      $0.value.users <= 0 && now.timeIntervalSince($0.value.lastUse) >= Self.idleSeconds
    }
    for (key, entry) in idle {
      // Sessions of time travel are not counted: the server knows whether they do anything.
      if let compute = entry.compute,
        try await core.tenants.isInUse(compute, within: Int(Self.idleSeconds))
      {
        entries[key]?.lastUse = now.addingTimeInterval(Self.recheckSeconds - Self.idleSeconds)
        continue
      }
      // Taken while the server was asked?
      guard entries[key]?.users == 0, entries[key]?.lastUse == entry.lastUse else { continue }
      entries[key] = nil
      mayHoldForgotten = true
      try await Self.end(entry.id, core)
    }
    guard mayHoldForgotten else { return }
    try await endForgotten(core)
  }

  /// Rows without an entry: of an earlier process, or where ending failed before.
  private func endForgotten(_ core: Core) async throws {
    let rows = try await core.catalog.read { try $0.readingComputes() }
    let known = Set(entries.values.map(\.id))
    // Replicas have rows there too, which are their endpoints'.
    for row in rows where !known.contains(row.id) && !row.id.hasPrefix(ReplicaComputes.prefix) {
      try await Self.end(row.id, core)
    }
    mayHoldForgotten = false
  }

  private static func end(_ id: String, _ core: Core) async throws {
    try await core.fleet.closeReading(id: id)
    try await core.catalog.write { try $0.deleteReadingCompute(id) }
  }
}
