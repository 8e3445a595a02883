import Catalog
import Foundation
import PostgresFormat

/// Computes that serve one moment for reading, and go when nobody has used them for a while.
///
/// *State and invariants*: 1. A moment has one compute at most; those who ask at the same time share
/// it. 2. A row of the catalog is written before a compute is opened and removed after it is gone,
/// so that ``endIdle(_:)`` finds what a killed process left. 3. One that is in use is not ended. 4. Neither a
/// project nor an account takes all the room: each has a limit below that of all together.
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
    let project: ProjectID
    let account: AccountID
    /// Until when a client that was told of it may still be on its way there.
    var awaitsClientUntil = Date.distantPast

    func awaitsClient(_ core: Core) -> Bool { awaitsClientUntil > core.clock.now }
  }

  /// Where no further moment may be opened.
  private struct Shortage {
    let limit: Int
    /// Whose limit it is, in words.
    let holder: String
    /// Whether ending this one helps.
    let holds: @Sendable (Entry) -> Bool

    var refusal: ControlPlaneError {
      ControlPlaneError(
        .unavailable, "read a past moment: \(holder) has \(limit) moments in use already",
        hint: "try again in half a minute, or make a branch at the moment")
    }
  }

  /// A compute in use; to be given back with ``giveBack(_:_:)``.
  struct Loan: Sendable {
    var id: String
    var compute: RunningCompute
  }

  private var entries: [Key: Entry] = [:]
  /// Whether rows may be there that have no entry: of an earlier process, or of a failed end.
  private var mayHoldForgotten = true
  /// Forgotten, and not gone yet.
  private var ending: [String: Entry] = [:]

  /// How long one stays after its last use; seconds.
  static let idleSeconds: TimeInterval = 30
  /// How long after its last look one that is in use is looked at again; seconds.
  private static let recheckSeconds: TimeInterval = 5
  /// How long a client that was told where a moment is has to connect before others may take its room; seconds.
  private static let connectSeconds: TimeInterval = 4
  /// Moments that are open at a time: each is a server of its own.
  static let limit = 32
  /// Of one account; the others find room beside it.
  static let accountLimit = 24
  /// Of one project.
  static let projectLimit = 8
  /// What a server of the past has for pages; what it reads is in the kernel's cache besides.
  private static let sharedBuffersMB = 64
  /// After this a transaction in which nothing happens is ended; milliseconds.
  private static let transactionPause = TenantUse.transactionSeconds * 1000

  /// Runs `body` with a compute at the moment; it stays for others when `body` has ended.
  /// - Parameters:
  ///   - roles: that are to log in to a moment of a server elsewhere, which does not have them.
  ///   - awaitsClient: whether a client connects to it when `body` has ended.
  nonisolated func use<Value: Sendable>(
    _ moment: ResolvedMoment, of branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    roles: [RoleRequest] = [], awaitsClient: Bool = false,
    _ body: @Sendable (RunningCompute) async throws -> Value
  ) async throws -> Value {
    let loan = try await take(moment, of: branch, project, core, roles: roles)
    do {
      let value = try await body(loan.compute)
      await giveBack(loan.id, core, awaitsClient: awaitsClient)
      return value
    } catch {
      await giveBack(loan.id, core)
      throw error
    }
  }

  /// Opens the moment, or joins those who have it open.
  /// - Throws: ``ControlPlaneError`` `.unavailable` where there is no room.
  func take(
    _ moment: ResolvedMoment, of branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    roles: [RoleRequest] = []
  ) async throws -> Loan {
    let key = Key(line: moment.lineID, lsn: moment.lsn, isAdopted: !roles.isEmpty)
    try await makeRoom(for: key, project, core)
    var entry = entries[key] ?? open(key, branch, project, core, roles)
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

  /// Ends moments that nobody uses, the longest unused first, until one more may be opened. Waits for those whose
  /// clients may be on their way only.
  private func makeRoom(for key: Key, _ project: ProjectRecord, _ core: Core) async throws {
    let end = ContinuousClock.now + .seconds(Self.connectSeconds)
    while entries[key] == nil, let shortage = shortage(for: project) {
      let isMade = await endOne(of: shortage, core)
      guard ContinuousClock.now < end else { throw shortage.refusal }
      if isMade { continue }
      let waits = entries.values.filter { shortage.holds($0) && $0.awaitsClient(core) }
        .map { $0.awaitsClientUntil.timeIntervalSince(core.clock.now) }
      guard let least = waits.min() else { throw shortage.refusal }
      // No sooner than one of them stops waiting; looked at now and then, as one may be given back.
      try await Task.sleep(for: .seconds(min(max(least, 0.05), 0.5)))
    }
  }

  /// `nil` where there is room.
  private func shortage(for project: ProjectRecord) -> Shortage? {
    let (id, account) = (project.id, project.accountID)
    let all = [
      Shortage(
        limit: Self.projectLimit, holder: "project '\(id)'", holds: { $0.project == id }),
      Shortage(
        limit: Self.accountLimit, holder: "its account", holds: { $0.account == account }),
      Shortage(limit: Self.limit, holder: "this installation", holds: { _ in true }),
    ]
    return all.first { count(of: $0) >= $0.limit }
  }

  private func count(of shortage: Shortage) -> Int {
    entries.values.count { shortage.holds($0) } + ending.values.count { shortage.holds($0) }
  }

  /// - Returns: whether there may be room now; `false` where all are in use.
  private func endOne(of shortage: Shortage, _ core: Core) async -> Bool {
    let unused = entries.filter { _, entry in
      shortage.holds(entry) && entry.users <= 0 && !entry.awaitsClient(core)
    }
    for (key, entry) in unused.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
      do {
        if try await endUnlessUsed(key, entry, core) { return true }
      } catch {
        core.logger.warning(
          "a past moment could not be ended", metadata: ["id": "\(entry.id)", "error": "\(error)"])
      }
      // Others end them, too.
      if count(of: shortage) < shortage.limit { return true }
    }
    return false
  }

  private func open(
    _ key: Key, _ branch: BranchRecord, _ project: ProjectRecord, _ core: Core,
    _ roles: [RoleRequest]
  ) -> Entry {
    let id = core.names.reading()
    let task = Task {
      _ = try await core.catalog.writeAside { tx in
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
            major: project.pgVersion, settings: Self.settings(of: project), roles: roles))
      } catch {
        try await Self.end(id, core)
        throw error
      }
    }
    return Entry(
      id: id, opening: task, lastUse: core.clock.now, project: project.id,
      account: project.accountID)
  }

  /// The size that the project's new endpoints have.
  private static func settings(of project: ProjectRecord) -> ComputeSettings {
    let defaults = project.defaultEndpointSettings
    let least = defaults.autoscalingLimitMinCU ?? ComputeSize.standard
    let units = max(least, defaults.autoscalingLimitMaxCU ?? least)
    return ComputeSettings(
      sharedBuffersMB: sharedBuffersMB, units: units, memoryMB: ComputeSize.memoryMB(units),
      parameters: ["idle_in_transaction_session_timeout": "\(transactionPause)"])
  }

  private func forget(_ key: Key, _ id: String) {
    if entries[key]?.id == id { entries[key] = nil }
  }

  func giveBack(_ id: String, _ core: Core, awaitsClient: Bool = false) {
    guard let key = entries.first(where: { $0.value.id == id })?.key else { return }
    let now = core.clock.now
    entries[key]?.users -= 1
    entries[key]?.lastUse = now
    if awaitsClient {
      entries[key]?.awaitsClientUntil = now.addingTimeInterval(Self.connectSeconds)
    }
  }

  /// Ends the moment's compute at once where nobody has it on loan and no client is at work.
  func closeUnused(_ moment: ResolvedMoment, _ core: Core) async throws {
    let key = Key(line: moment.lineID, lsn: moment.lsn)
    guard let entry = entries[key], entry.users == 0, entry.compute != nil else { return }
    _ = try await endUnlessUsed(key, entry, core)
  }

  /// Ends those that nobody has used for ``idleSeconds``. One that cannot be ended keeps no other.
  func endIdle(_ core: Core) async throws {
    let now = core.clock.now
    let idle = entries.filter {
      $0.value.users <= 0 && now.timeIntervalSince($0.value.lastUse) >= Self.idleSeconds
    }
    var failure: (any Error)?
    for (key, entry) in idle {
      do {
        guard try await !endUnlessUsed(key, entry, core), entries[key]?.users == 0,
          entries[key]?.lastUse == entry.lastUse
        else { continue }
        entries[key]?.lastUse = now.addingTimeInterval(Self.recheckSeconds - Self.idleSeconds)
      } catch {
        failure = error
      }
    }
    if mayHoldForgotten { try await endForgotten(core) }
    if let failure { throw failure }
  }

  /// Projects that have moments open.
  var projects: Set<ProjectID> { Set(entries.values.map(\.project)) }

  /// Ends what clients use of a project; what operations have on loan stays.
  /// - Returns: whether there was any.
  func endSessions(of project: ProjectID, _ core: Core) async throws -> Bool {
    var found = false
    for (key, entry) in entries where entry.project == project {
      guard let now = entries[key], now.id == entry.id, now.users <= 0 else { continue }
      found = true
      try await end(key, entry, core)
    }
    return found
  }

  /// - Returns: whether it was ended; `false` where it is in use.
  private func endUnlessUsed(_ key: Key, _ entry: Entry, _ core: Core) async throws -> Bool {
    // Sessions of time travel are not counted: the server knows whether they do anything.
    if let compute = entry.compute,
      try await core.tenants.isInUse(compute, within: Int(Self.idleSeconds))
    {
      return false
    }
    // Taken while the server was asked?
    guard let now = entries[key], now.id == entry.id, now.users <= 0,
      now.lastUse == entry.lastUse, !now.awaitsClient(core)
    else { return false }
    try await end(key, entry, core)
    return true
  }

  private func end(_ key: Key, _ entry: Entry, _ core: Core) async throws {
    forget(key, entry.id)
    mayHoldForgotten = true
    // Its server takes room until it is gone.
    ending[entry.id] = entry
    try await Self.end(entry.id, core)
    ending[entry.id] = nil
  }

  /// Rows without an entry: of an earlier process, or where ending failed before.
  private func endForgotten(_ core: Core) async throws {
    mayHoldForgotten = false
    do {
      let rows = try await core.catalog.read { try $0.readingComputes() }
      let known = Set(entries.values.map(\.id))
      var failure: (any Error)?
      // Replicas have rows there too, which are their endpoints'.
      for row in rows where !known.contains(row.id) && !row.id.hasPrefix(ReplicaComputes.prefix) {
        do {
          try await Self.end(row.id, core)
          ending[row.id] = nil
        } catch {
          failure = error
        }
      }
      if let failure { throw failure }
    } catch {
      mayHoldForgotten = true
      throw error
    }
  }

  private static func end(_ id: String, _ core: Core) async throws {
    try await core.fleet.closeReading(id: id)
    try await core.catalog.writeAside { try $0.deleteReadingCompute(id) }
  }
}
