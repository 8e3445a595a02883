import APITypes
import Catalog
import Foundation
import PostgresFormat

/// One request for dumps: moments and databases are found first, outside any transaction.
struct DumpCreation: Sendable {
  let core: Core
  let request: API.DumpRequest
  let projectID: ProjectID
  let account: AccountID

  /// Branches whose databases are looked up at the same time.
  private static let lookups = 4
  /// Above this, a moment that was only opened to look into is closed at once.
  private static let keptOpen = 8
  private static let jobsRange = 1...8

  func run() async throws -> API.CreatedDumps {
    let moment = try validated()
    let resolvers = try await core.catalog.read { tx in try self.resolvers(tx) }
    let (found, failures) = try await lookUp(resolvers, moment)
    let plans = try select(found)
    var answer = try await core.catalog.write { tx in try self.insert(plans, tx) }
    if !failures.isEmpty { answer.failures = failures }
    return answer
  }

  private func validated() throws -> MomentRequest {
    if case .names(let names) = request.branches {
      try Self.checkNames("branches", names)
    } else if request.lsn != nil {
      throw ControlPlaneError(
        .badValue,
        "'lsn' is set and 'branches' is 'all': positions of two branches mean nothing "
          + "to each other", hint: "name one branch, or use 'timestamp'")
    }
    if case .names(let names) = request.branches, names.count > 1, request.lsn != nil {
      throw ControlPlaneError(
        .badValue, "'lsn' is set and 'branches' has \(Set(names).count) branches, must be one",
        hint: "name one branch, or use 'timestamp'")
    }
    if case .names(let names) = request.databases { try Self.checkNames("databases", names) }
    let jobs = request.jobs ?? 1
    guard Self.jobsRange.contains(jobs) else {
      throw ControlPlaneError.value("jobs", jobs, allowed: "1 to \(Self.jobsRange.upperBound)")
    }
    if jobs > 1, request.format != .directory {
      throw ControlPlaneError.value("jobs", jobs, allowed: "1 unless 'format' is 'directory'")
    }
    try SnapshotService.checkExpiry("expires_at", request.expiresAt, core.clock.now)
    return try MomentRequest(
      lsn: request.lsn, time: request.timestamp, names: ("lsn", "timestamp"))
  }

  private static func checkNames(_ field: String, _ names: [String]) throws {
    guard (1...DumpService.requestLimit).contains(names.count) else {
      throw ControlPlaneError.value(
        field, "\(names.count) names", allowed: "'all', or 1 to \(DumpService.requestLimit) names")
    }
  }

  private func resolvers(_ tx: CatalogTransaction) throws -> [MomentResolver] {
    let project = try core.project(tx, projectID, of: account)
    let branches: [BranchRecord]
    switch request.branches {
    case .names(let ids):
      var seen: Set<String> = []
      branches = try ids.filter { seen.insert($0).inserted }.map {
        try core.branch(tx, BranchID($0), of: project.id)
      }
    case .all:
      // A branch that came later has no such moment.
      branches = try tx.branches(of: project.id).filter { branch in
        branch.deletedAt == nil && request.timestamp.map { branch.createdAt <= $0 } ?? true
      }
    }
    return try branches.map { try MomentResolver(core, project, $0, tx) }
  }

  /// A branch at the moment, and the databases that are there.
  struct Found: Sendable {
    var branch: BranchRecord
    var moment: ResolvedMoment
    var databases: [String]
    /// Those that nobody can connect to, and that therefore cannot be dumped; `pg_dumpall` leaves them out as well.
    var closed: [String]

    /// What is to be said of a dump of everything.
    var notes: [String] {
      closed.map { "database '\($0)' is not dumped: it allows no connections" }
    }

    /// Why a database that was named is not dumped.
    func refusal(_ name: String) -> ControlPlaneError {
      let action = "dump database '\(name)' of branch '\(branch.name)'"
      guard closed.contains(name) else {
        return ControlPlaneError(
          .databaseNotFound, "\(action): no such database at the moment",
          hint: "there are: " + databases.sorted().joined(separator: ", "))
      }
      return ControlPlaneError(
        .badValue, "\(action): it allows no connections at the moment",
        hint: "ALTER DATABASE … ALLOW_CONNECTIONS true, and dump a later moment")
    }
  }

  /// - Returns: with what stands against branches that do not open, where all were asked for.
  /// - Throws: the first branch's error where none opens, or branches were named.
  private func lookUp(
    _ resolvers: [MomentResolver], _ moment: MomentRequest
  ) async throws -> ([Found], [API.BranchFailure]) {
    let results = try await lookUpEach(resolvers, moment)
    let found = results.compactMap { try? $0.get() }  // the others follow
    if case .names = request.branches { return (try results.map { try $0.get() }, []) }
    if found.isEmpty { _ = try results.first?.get() }
    let failures = zip(resolvers, results).compactMap { resolver, result -> API.BranchFailure? in
      guard case .failure(let error) = result else { return nil }
      core.logger.warning(
        "a branch is not dumped",
        metadata: ["branch": "\(resolver.branch.id)", "error": "\(error)"])
      return API.BranchFailure(
        branchID: resolver.branch.id.rawValue, branchName: resolver.branch.name, error: "\(error)")
    }
    return (found, failures)
  }

  private func lookUpEach(
    _ resolvers: [MomentResolver], _ moment: MomentRequest
  ) async throws -> [Result<Found, any Error>] {
    try await withThrowingTaskGroup(of: (Int, Result<Found, any Error>).self) { group in
      var found: [Int: Result<Found, any Error>] = [:]
      var next = 0
      func add() {
        guard next < resolvers.count else { return }
        let index = next
        group.addTask {
          do {
            let one = try await Self.lookUp(
              resolvers[index], moment, core, closes: resolvers.count > Self.keptOpen)
            return (index, .success(one))
          } catch let error as CancellationError {
            throw error
          } catch {
            return (index, .failure(error))
          }
        }
        next += 1
      }
      for _ in 0..<Self.lookups { add() }
      while let (index, one) = try await group.next() {
        found[index] = one
        add()
      }
      return resolvers.indices.compactMap { found[$0] }
    }
  }

  /// Opens the moment, which the dump will use, and asks it: databases come and go by SQL, too.
  static func lookUp(
    _ resolver: MomentResolver, _ moment: MomentRequest, _ core: Core, closes: Bool = false
  ) async throws -> Found {
    var resolved = try await resolver.resolve(moment)
    resolved.time = resolver.time(of: moment, resolved)
    let contents = try await core.reading.use(
      resolved, of: resolver.branch, resolver.project, core
    ) { compute in
      try await core.tenants.apply(
        TenantConfiguration(roles: [], databases: [], createsDatabases: false), to: compute)
    }
    if closes { try await core.reading.closeUnused(resolved, core) }
    let names = contents.databases.map(\.name)
    return Found(
      branch: resolver.branch, moment: resolved,
      databases: names.filter { !contents.closedDatabases.contains($0) },
      closed: names.filter { contents.closedDatabases.contains($0) })
  }

  private func select(_ found: [Found]) throws -> [(Found, String)] {
    guard case .names(let names) = request.databases else {
      return found.flatMap { branch in branch.databases.map { (branch, $0) } }
    }
    var seen: Set<String> = []
    let wanted = names.filter { seen.insert($0).inserted }
    for name in wanted where !found.contains(where: { $0.databases.contains(name) }) {
      if let branch = found.first(where: { $0.closed.contains(name) }) {
        throw branch.refusal(name)
      }
      throw ControlPlaneError(
        .databaseNotFound, "dump database '\(name)': no such database at the moment",
        hint: "there are: " + Set(found.flatMap(\.databases)).sorted().joined(separator: ", "))
    }
    // Of branches that were named all is wanted; among all branches, what is there.
    if case .names = request.branches {
      for branch in found {
        for name in wanted where !branch.databases.contains(name) { throw branch.refusal(name) }
      }
    }
    return found.flatMap { branch in
      wanted.filter { branch.databases.contains($0) }.map { (branch, $0) }
    }
  }

  private func insert(
    _ plans: [(Found, String)], _ tx: CatalogTransaction
  ) throws -> API.CreatedDumps {
    let project = try core.lock(tx, projectID, of: account)
    guard plans.count <= DumpService.requestLimit else {
      throw ControlPlaneError(
        .limitReached, "make \(plans.count) dumps: one request makes \(DumpService.requestLimit)",
        hint: "name branches or databases")
    }
    let rows = NewDumps(core: core, project: project)
    let presenter = Presenter(core: core)
    var answer = API.CreatedDumps(dumps: [], operations: [])
    for (found, database) in plans {
      let (dump, operation) = try rows.insert(
        database, of: found.branch.id, at: found.moment, format: request.format ?? .custom,
        jobs: request.jobs ?? 1, isManual: true, verifies: request.verify ?? false,
        expiresAt: request.expiresAt, notes: request.databases == .all ? found.notes : [], tx)
      answer.dumps.append(presenter.dump(dump))
      answer.operations.append(presenter.operation(operation))
    }
    return answer
  }
}

/// Makes a dump's row and the operation that fills it.
struct NewDumps {
  let core: Core
  let project: ProjectRecord

  func insert(
    _ database: String, of branch: BranchID, at moment: ResolvedMoment, format: API.DumpFormat,
    jobs: Int, isManual: Bool, verifies: Bool, expiresAt: Date?,
    details: [String: String] = [:], notes: [String] = [], _ tx: CatalogTransaction
  ) throws -> (DumpRecord, OperationRecord) {
    let id = core.names.dump()
    var operation = OperationRecord(
      .makeDump, core, project: project, branch: branch, locks: [OperationLock.dump(id)])
    operation.details = details
    operation.details[DumpDetail.dump] = id.rawValue
    operation.notes = notes
    operation = try tx.enqueue(operation)
    let dump = try tx.insert(
      DumpRecord(
        id: id, project: project, branchID: branch, databaseName: database,
        lineID: CatalogLineID(moment.lineID), lsn: moment.lsn, moment: moment.time, format: format,
        jobs: jobs, isManual: isManual, isVerifiedAfter: verifies, operationID: operation.id,
        createdAt: core.clock.now, expiresAt: expiresAt))
    return (dump, operation)
  }
}

/// Dumps all databases of the branch's head, and has each verified. A run that is repeated dumps those that it has no
/// good dump of: one that fails for good does not multiply the others'.
struct DumpBackup: BackupAction {
  let core: Core

  func prepare(_ run: BackupRun) async throws -> @Sendable (CatalogTransaction) throws -> Void {
    let resolver = try await core.catalog.read { tx -> MomentResolver in
      guard let project = try tx.project(run.item.projectID),
        let branch = try tx.branch(run.item.branchID)
      else {
        throw ControlPlaneError(
          .branchNotFound, "make a scheduled dump: branch '\(run.item.branchID)' is gone")
      }
      return try MomentResolver(core, project, branch, tx)
    }
    let found = try await DumpCreation.lookUp(resolver, .head, core)
    // No dump's operation could say so.
    if found.databases.isEmpty, !found.closed.isEmpty {
      throw ControlPlaneError(
        .badValue,
        "dump branch '\(found.branch.name)': " + found.notes.joined(separator: ", "),
        hint: "ALTER DATABASE … ALLOW_CONNECTIONS true, or take the dumps off the schedule")
    }
    let details = [
      DumpDetail.scheduleItem: run.item.id.rawValue, DumpDetail.dueAt: RFC3339.text(run.dueAt),
      DumpDetail.failures: "\(run.item.failuresCount)",
    ]
    return { [core] tx in
      let settled = try Self.settled(run, tx)
      for database in found.databases where !settled.contains(database) {
        _ = try NewDumps(core: core, project: resolver.project).insert(
          database, of: found.branch.id, at: found.moment, format: .custom, jobs: 1,
          isManual: false, verifies: true, expiresAt: run.expiresAt, details: details,
          notes: found.notes, tx)
      }
      core.added.fire()
    }
  }

  /// Databases that earlier attempts of the run have dumped well, or are still dumping; or whose dump somebody gave up.
  private static func settled(
    _ run: BackupRun, _ tx: CatalogTransaction
  ) throws -> Set<String> {
    let dumps = try tx.dumps(
      ofRun: RFC3339.text(run.dueAt), of: run.item.id, in: run.item.projectID)
    return Set(dumps.filter { !$0.isNoGood }.map(\.databaseName))
  }
}

extension DumpRecord {
  /// Whether nothing came of it, or something that is not what the database holds.
  fileprivate var isNoGood: Bool {
    status == .failed || status == .finished && (verification.map { $0.status != .passed } ?? false)
  }
}
