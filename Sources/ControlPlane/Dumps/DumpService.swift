import APITypes
import Catalog
import Foundation

/// Dumps: made, listed, downloaded, deleted.
public struct DumpService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  /// Dumps of one request.
  static let requestLimit = 1000
  /// Bytes after which a download is counted, so that a killed `serve` forgets no more.
  public static let countedBytes = 64 << 20

  public func create(
    _ request: API.DumpRequest, project: ProjectID, account: AccountID
  ) async throws -> API.CreatedDumps {
    let answer = try await DumpCreation(
      core: core, request: request, projectID: project, account: account
    ).run()
    core.added.fire()
    return answer
  }

  public func list(
    project: ProjectID, account: AccountID, page: PageRequest
  ) async throws -> (dumps: [API.Dump], next: PagePosition?) {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let found = try tx.dumps(of: project.id, page)
      return (found.elements.map(presenter.dump), found.next)
    }
  }

  public func get(
    _ id: DumpID, project: ProjectID, account: AccountID
  ) async throws -> API.Dump {
    try await core.catalog.read { tx in
      presenter.dump(try Self.find(id, try core.project(tx, project, of: account), tx))
    }
  }

  /// Ends the work on it, if there is any, and removes it. Deleting a deleted one answers as the
  /// first time.
  public func delete(
    _ id: DumpID, project: ProjectID, account: AccountID
  ) async throws -> API.DumpOperations {
    try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      guard try tx.dump(id, of: project.id) != nil, var dump = try tx.lockDump(id) else {
        throw Self.notFound(id, project)
      }
      if dump.deletedAt == nil {
        dump.deletedAt = core.clock.now
        if dump.status != .finished, dump.status != .failed { dump.status = .cancelled }
        try tx.update(dump)
      }
      return API.DumpOperations(dump: presenter.dump(dump), operations: [])
    }
  }

  /// Restores it into a scratch branch and compares it with its source.
  public func verify(
    _ id: DumpID, project: ProjectID, account: AccountID
  ) async throws -> API.DumpOperations {
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      _ = try Self.findWritten(id, project, doing: "verify", tx)
      try core.requireFree(
        tx, project.id, [OperationLock.dump(id)], doing: "verify dump '\(id)'")
      guard var dump = try tx.lockDump(id) else { throw Self.notFound(id, project) }
      var operation = OperationRecord(
        .verifyDump, core, project: project, branch: dump.branchID, locks: [OperationLock.dump(id)])
      operation.details = [DumpDetail.dump: id.rawValue]
      operation = try tx.enqueue(operation)
      dump.operationID = operation.id
      dump.status = .verifying
      try tx.update(dump)
      return API.DumpOperations(
        dump: presenter.dump(dump), operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }

  // MARK: download

  /// A dump to download, with what the answer's header says of it.
  public struct Download: Sendable {
    public var dump: API.Dump
    public var file: any DumpFile
    let record: DumpRecord
  }

  /// - Throws: ``ControlPlaneError``, also where the project has sent all that it may.
  public func download(
    _ id: DumpID, project: ProjectID, account: AccountID
  ) async throws -> Download {
    let record = try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let found = try Self.findWritten(id, project, doing: "download", tx)
      try QuotaService(core: core).requireTransfer(project, tx, doing: "download dump '\(id)'")
      return found
    }
    let file = try await core.dumpTools.open(
      dump: id.rawValue, project: record.projectID.rawValue)
    return Download(dump: presenter.dump(record), file: file, record: record)
  }

  /// The roles' statements that were noted with a dump.
  public func globals(
    _ id: DumpID, project: ProjectID, account: AccountID
  ) async throws -> String {
    let record = try await core.catalog.read { tx in
      try Self.findWritten(
        id, try core.project(tx, project, of: account), doing: "read the roles of", tx)
    }
    return try await core.dumpTools.globals(
      ofDump: id.rawValue, project: record.projectID.rawValue)
  }

  /// Counts bytes of a download as data transfer.
  public func count(_ bytes: Int, of download: Download) async throws {
    guard bytes > 0 else { return }
    let now = core.clock.now
    try await core.catalog.write {
      try $0.addTransfer(ofDump: download.record, bytes: bytes, at: now)
    }
  }

  // MARK: finding

  static func find(
    _ id: DumpID, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> DumpRecord {
    guard let dump = try tx.dump(id, of: project.id), dump.deletedAt == nil else {
      throw notFound(id, project)
    }
    return dump
  }

  /// - Throws: also where it is not in the store yet.
  static func findWritten(
    _ id: DumpID, _ project: ProjectRecord, doing verb: String, _ tx: CatalogTransaction
  ) throws -> DumpRecord {
    let dump = try find(id, project, tx)
    guard dump.sizeBytes != nil, dump.status == .finished || dump.status == .verifying else {
      throw ControlPlaneError(
        .dumpNotReady, "\(verb) dump '\(id)': it is \(dump.status.rawValue)",
        hint: dump.status == .failed ? "make another" : "try again when it is finished")
    }
    return dump
  }

  static func notFound(_ id: DumpID, _ project: ProjectRecord) -> ControlPlaneError {
    ControlPlaneError(.dumpNotFound, "find dump '\(id)' in project '\(project.id)': there is none")
  }
}

/// What operations on dumps carry.
enum DumpDetail {
  static let dump = "dump"
  static let scheduleItem = "schedule_item"
  static let dueAt = "due_at"
  static let failures = "failures"
  static let database = "database"
  static let tables = "tables"
  static let table = "table"
  static let newName = "as"
  static let condition = "where"
  static let line = "line"
  static let lsn = "lsn"
  /// What came of it, once it was committed.
  static let outcome = "outcome"
}

extension Presenter {
  func dump(_ record: DumpRecord) -> API.Dump {
    API.Dump(
      id: record.id.rawValue, projectID: record.projectID.rawValue,
      branchID: record.branchID.rawValue, database: record.databaseName, format: record.format,
      jobs: record.jobs, lsn: record.lsn.description, timestamp: record.moment,
      status: record.status, error: record.error,
      progress: API.DumpProgress(
        bytes: record.progressBytes, tablesDone: record.tablesDone,
        tablesTotal: record.tablesTotal), sizeBytes: record.sizeBytes, sha256: record.sha256,
      fileName: Self.fileName(record), verify: record.isVerifiedAfter,
      verification: record.verification, manual: record.isManual,
      operationID: record.operationID.rawValue, createdAt: record.createdAt,
      startedAt: record.startedAt, finishedAt: record.finishedAt, expiresAt: record.expiresAt)
  }

  /// Letters, digits, dots, hyphens: nothing that a shell or a header takes for something else.
  private static func fileName(_ record: DumpRecord) -> String {
    let database = String(
      record.databaseName.unicodeScalars.prefix(63).map { scalar -> Character in
        let isPlain =
          scalar.isASCII
          && (scalar.properties.isAlphabetic || "0123456789-_".contains(Character(scalar)))
        return isPlain ? Character(scalar) : "_"
      })
    let ending =
      switch record.format {
      case .custom: "dump"
      case .directory: "tar"
      case .plain: "sql"
      }
    return "\(database)-\(record.id).\(ending)"
  }
}
