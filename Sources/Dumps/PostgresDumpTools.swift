import APITypes
import ControlPlane
import DurableIO
import Foundation
import Logging
import ObjectStorage
import PostgresClient
import Synchronization

/// Dumps made by PostgreSQL's own `pg_dump` and restored by `pg_restore` and `psql`.
///
/// *Purpose*: archives of databases in an object store, and the way back from them.
///
/// *State and invariants*: 1. A dump is there when its manifest is; the manifest is written last. 2.
/// No program that reads what tenants wrote runs as a superuser of the database. 3. A restore is one
/// transaction.
///
/// *On disk*: `<scratch>/<process>/<work>/`, removed when the work ends.
///
/// *Crash*: what a killed process left in the scratch directory is removed when the next one opens
/// it; objects without a manifest are removed when the dump is made again or given up.
///
/// *Concurrency*: any number of calls; each has a thread of its own while it works.
///
/// *Not guarded here*: two processes with one scratch directory.
public final class PostgresDumpTools: DumpTools {
  let binaries: String
  let scratch: String
  let superuser: String
  let log: Logger
  private let openStore: @Sendable (String) throws -> any ObjectStore
  /// The system's user that reads what tenants wrote; `nil` for our own.
  private let identity: @Sendable (String) throws -> (uid: UInt32, gid: UInt32)?
  let checkedStore: CheckedStore?
  private let stores = Mutex<[String: any ObjectStore]>([:])

  /// Local disk of one dump in directory format; bytes.
  let spoolLimit: Int

  /// - Parameters:
  ///   - binaries: the directory of PostgreSQL's programs.
  ///   - scratch: a directory of its own on local disk; emptied.
  ///   - spoolLimit: bytes of local disk that one dump in directory format takes, about.
  ///   - store: opens the object store for a project.
  ///   - checked: what ``check(dump:project:bytesPerSecond:)`` reads instead of it.
  ///   - identity: who runs `psql` for a project.
  public init(
    binaries: String, scratch: String,
    superuser: String = PostgresTenantConfigurator.superuser, spoolLimit: Int = 256 << 20,
    log: Logger,
    store: @escaping @Sendable (String) throws -> any ObjectStore, checked: CheckedStore? = nil,
    identity: @escaping @Sendable (String) throws -> (uid: UInt32, gid: UInt32)? = { _ in nil }
  ) throws {
    self.binaries = binaries
    self.scratch = "\(scratch)/\(UUID().uuidString.lowercased())"
    self.superuser = superuser
    self.spoolLimit = spoolLimit
    self.log = log
    openStore = store
    checkedStore = checked
    self.identity = identity
    // Programs of a killed process may still write: what they put back goes at the next start.
    for name in (try? FileManager.default.contentsOfDirectory(atPath: scratch)) ?? [] {
      try? FileManager.default.removeItem(atPath: "\(scratch)/\(name)")
    }
    try FileManager.default.createDirectory(
      atPath: self.scratch, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
  }

  // MARK: dumps

  public func make(
    _ order: DumpOrder, from compute: RunningCompute,
    progress: @escaping @Sendable (API.DumpProgress) async throws -> Void
  ) async throws -> StoredDump {
    let store = try store(order.project)
    if let made = try await alreadyMade(order, store) { return made }
    try await storing { try await self.removeObjects(StoredManifest.prefix(order.id), store) }
    do {
      let manifest = try await storing {
        try await self.onThread { directory in
          try DumpRun(
            tools: self, order: order, compute: compute, store: store, directory: directory,
            progress: progress
          ).run()
        }
      }
      return try await storing { try await self.readBack(order.id, manifest, store) }
    } catch {
      do { try await removeObjects(StoredManifest.prefix(order.id), store) } catch let second {
        // The first error is the one to report; the housekeeping tries again.
        log.warning("a dump's objects are left", metadata: ["error": "\(second)"])
      }
      throw error
    }
  }

  /// What an attempt made of which nobody knows that it came to its end; `nil` where there is none, or it is not whole.
  ///
  /// It is of the same moment. And a second manifest under its name would not be told from it, by its size, by who
  /// keeps copies.
  private func alreadyMade(_ order: DumpOrder, _ store: any ObjectStore) async throws -> StoredDump?
  {
    do {
      let manifest = try await self.manifest(order.id, store)
      guard manifest.format == order.format, manifest.source.database == order.database else {
        return nil
      }
      return try await readBack(order.id, manifest, store)
    } catch is DumpError {
      return nil
    } catch let error as ObjectStorageError
      where [.damaged, .outOfRange, .notFound].contains(error.code)
    {
      return nil
    } catch { throw told(error) }
  }

  /// Reads the dump as it would be downloaded, which checks every byte, and adds it up.
  private func readBack(
    _ id: String, _ manifest: StoredManifest, _ store: any ObjectStore
  ) async throws -> StoredDump {
    let file = StoredDumpFile(manifest, dump: id, directory: id, store: store)
    var sum = DumpSum()
    var offset = 0
    while offset < file.size {
      let bytes = try await file.read(from: offset, to: file.size)
      sum.add(bytes)
      offset += bytes.count
    }
    return StoredDump(sizeBytes: file.size, sha256: sum.hexadecimal, tables: manifest.source.tables)
  }

  public func remove(dump: String, project: String) async throws {
    try await storing {
      try await self.removeObjects(StoredManifest.prefix(dump), try self.store(project))
    }
  }

  public func open(dump: String, project: String) async throws -> any DumpFile {
    let store = try store(project)
    return StoredDumpFile(
      try await storing { try await self.manifest(dump, store) }, dump: dump, directory: dump,
      store: store)
  }

  public func globals(ofDump dump: String, project: String) async throws -> String {
    try await storing { try await self.manifest(dump, try self.store(project)).source.globals }
  }

  public func removeHistory(line: String) async throws {
    try await storing { try await self.removeObjects("lines/\(line)/", try self.store("")) }
  }

  // MARK: contents, restores

  public func contents(of database: String, on compute: RunningCompute) async throws
    -> DatabaseContents
  {
    try await onThread { directory in
      try ContentsRead(tools: self, compute: compute, database: database, directory: directory)
        .run()
    }
  }

  public func restore(
    _ order: RestoreOrder, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws {
    let attempt = RestoreAttempt(
      tools: self, operation: order.operation, isCommitted: order.isCommitted,
      database: order.database, compute: compute, committed: committed)
    let store = try store(order.project)
    try await storing {
      try await self.onThread { directory in
        // Whatever an attempt fails at, what an earlier one left goes.
        try attempt.run { role in
          if order.isGone { throw DumpError("restore dump '\(order.dump)': it was deleted") }
          let manifest = try waitFor { try await self.manifest(order.dump, store) }
          return try RestoreRun(
            tools: self, order: order, compute: compute, manifest: manifest, store: store,
            directory: directory
          ).run(as: role)
        }
      }
    }
  }

  public func recover(
    _ order: TableOrder, from past: RunningCompute, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws {
    let attempt = RestoreAttempt(
      tools: self, operation: order.operation, isCommitted: order.isCommitted,
      database: order.database, compute: compute, committed: committed)
    try await onThread { directory in
      try attempt.run {
        try TableRecovery(
          tools: self, order: order, past: past, live: compute, directory: directory
        ).run(as: $0)
      }
    }
  }
}

/// What the parts of the work share.
extension PostgresDumpTools {
  /// The store that seals under the project's key.
  func store(_ project: String) throws -> any ObjectStore {
    try stores.withLock { stores in
      if let known = stores[project] { return known }
      let opened = try openStore(project)
      stores[project] = opened
      return opened
    }
  }

  func manifest(_ dump: String, _ store: any ObjectStore) async throws -> StoredManifest {
    let bytes: [UInt8]
    do {
      bytes = try await store.get(StoredManifest.key(dump), range: nil)
    } catch let error as ObjectStorageError where error.code == .notFound {
      throw DumpError(
        "open dump '\(dump)': the object store does not hold it",
        hint: "make another dump; 'exzo store' tells what the store holds")
    }
    return try StoredManifest(object: bytes, of: dump)
  }

  func removeObjects(_ prefix: String, _ store: any ObjectStore) async throws {
    while true {
      let found = try await store.list(prefix: prefix, after: nil, limit: 1000)
      if found.isEmpty { return }
      try await store.delete(found.map(\.key))
    }
  }

  /// Errors of the store become errors of dumps; see ``told(_:)``.
  func storing<Value: Sendable>(
    _ body: @Sendable () async throws -> Value
  ) async throws -> Value {
    do { return try await body() } catch { throw told(error) }
  }

  /// An error of the store or of local disk as one of dumps, temporary where the same call may succeed later.
  func told(_ error: any Error) -> any Error {
    switch error {
    case let error as ObjectStorageError:
      DumpError(
        "keep a dump: \(error)", isTemporary: error.code == .unavailable || error.code == .noSpace)
    case let error as FileError:
      DumpError("keep a dump: \(error)", hint: "the scratch directory is '\(scratch)'")
    default: error
    }
  }

  /// Runs `body` on a thread of its own with a directory that goes with it.
  func onThread<Value: Sendable>(
    _ body: @escaping @Sendable (String) throws -> Value
  ) async throws -> Value {
    let directory = "\(scratch)/\(UUID().uuidString.lowercased())"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    defer {
      do { try FileManager.default.removeItem(atPath: directory) } catch {
        log.warning("a scratch directory is left", metadata: ["path": "\(directory)"])
      }
    }
    return try await withCheckedThrowingContinuation { continuation in
      startThread {
        // A program that ended early shows as an error of the write, not as a signal.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        continuation.resume(with: Result { try body(directory) })
      }
    }
  }

  // MARK: servers

  /// A moment of an attached server is read under the name that its superuser had there.
  public func superuser(of compute: RunningCompute) -> String { compute.superuser ?? superuser }

  /// A session of the platform's superuser.
  func connect(_ compute: RunningCompute, _ database: String) throws -> PostgresConnection {
    do {
      return try PostgresConnection(
        ConnectionParameters(
          host: compute.socketDirectory, port: compute.port, user: superuser(of: compute),
          database: database,
          applicationName: "exzo-dump",
          options: ConnectionParameters.platformOptions + " -c search_path=pg_catalog"))
    } catch let error as PostgresError
      where error.message.contains("database \"\(database)\" does not exist")
    {
      throw DumpError("open database '\(database)': there is no such database at the moment")
    }
  }

  /// A connection string for programs, in which no name can say anything else.
  public func connectionString(
    _ compute: RunningCompute, _ database: String, user: String
  ) -> String {
    func quoted(_ text: String) -> String {
      "'" + text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
    return "host=\(quoted(compute.socketDirectory)) port=\(compute.port) user=\(quoted(user)) "
      + "dbname=\(quoted(database)) application_name=exzo-dump "
      + "options=\(quoted(ConnectionParameters.platformOptions))"
  }

  /// The words before a program that shall run as the project's own user of the system.
  func identityPrefix(_ project: String) throws -> [String] {
    guard let identity = try identity(project) else { return [] }
    return [
      "/usr/bin/setpriv", "--reuid=\(identity.uid)", "--regid=\(identity.gid)", "--clear-groups",
      "--no-new-privs",
    ]
  }
}
