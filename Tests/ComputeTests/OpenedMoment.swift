import DurableIO
import Foundation
import History
import Logging
import PostgresFormat
import TestSupport
import Volume

@testable import Compute

/// A moment opened one way and laid out as an ordinary data directory, on which a stock server has recovered
/// and was stopped again. Nothing connected: its pages are as recovery leaves them.
struct OpenedMoment {
  let server: StockServer
  let expectation: RecoveryExpectation
  /// What it was opened from.
  let groups: [LayerGroup]
  /// Pages made by page redo.
  let made: UInt64

  static let settings =
    Workloads.settings + [
      "autovacuum=off", "max_logical_replication_workers=0", "archive_mode=off",
      "recovery_init_sync_method=syncfs", "full_page_writes=off", "shared_buffers=16MB",
      "track_commit_timestamp=on",
    ]

  /// - Parameter ahead: makes the pages ahead of reads at the same time.
  /// - Throws: ``ComputeError`` `.environment` where the moment can not be opened this way.
  init(
    _ engine: Engine, _ parent: String, at target: LSN, _ way: OpeningWay, ahead: Bool = false
  ) async throws {
    let (prepared, directory) = try await OpenedMoment.prepare(engine, parent, at: target, way)
    let root = (directory.path as NSString).deletingLastPathComponent
    groups = prepared.writer.description.parent?.base ?? []
    expectation = prepared.expectation!
    server = try await onThread {
      if ahead, let lazy = prepared.lazy {
        Thread.detachNewThread {
          do { try lazy.makeAhead() } catch { print("made ahead of reads: \(error)") }
        }
      }
      defer { prepared.lazy?.close() }
      let server = try OpenedMoment.layOut(prepared, wal: directory.wal, in: "\(root)/server")
      try prepared.volume.close()
      return server
    }
    made = prepared.lazy?.made.load(ordering: .relaxed) ?? 0
    try await onThread { [server] in
      try server.start()
      try server.stop()
    }
  }

  /// Volume and `pg_wal` of a new line, as an agent prepares them; nothing is started.
  static func prepare(
    _ engine: Engine, _ parent: String, at target: LSN, _ way: OpeningWay
  ) async throws -> (PreparedCompute, LineDirectory) {
    let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
    var specification = engine.specification(line: line, parent: parent, lsn: target)
    specification.opening = way
    let directory = LineDirectory("\(engine.directory)/moments/\(line)/line")
    for path in [
      directory.volume, directory.wal, directory.spool, directory.scratch, directory.run,
    ] {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    let environment = HistoryEnvironment(
      store: engine.store, fileSystem: SystemFileSystem(), threads: BlockingThreads(count: 2),
      spoolDirectory: directory.scratch)
    let opening = MomentOpening(
      specification: specification, directory: directory, environment: environment,
      parent: LineID(rawValue: parent), target: target, log: Logger(label: "opening"))
    return (try await opening.prepare(), directory)
  }

  func remove() throws {
    try run(["rm", "-rf", (server.directory as NSString).deletingLastPathComponent])
  }

  private static func layOut(
    _ prepared: PreparedCompute, wal: String, in directory: String
  ) throws -> StockServer {
    let manager = FileManager.default
    let data = "\(directory)/data"
    try StockServer.makeOwnedDirectory(directory)
    let tree = prepared.lazy?.tree ?? BranchBaseView(prepared.warmed!.view).tree
    let paths = TreePaths(tree)
    try manager.createDirectory(atPath: data, withIntermediateDirectories: true)
    for entry in tree.entries where entry.kind == .directory && entry.id != .root {
      try manager.createDirectory(
        atPath: "\(data)/\(paths.path(of: entry))", withIntermediateDirectories: true)
    }
    for entry in tree.entries where entry.kind == .regular {
      let path = paths.path(of: entry)
      let bytes: [UInt8]
      do {
        bytes = try prepared.volume.readFile(path)
      } catch let error as VolumeError where error.code == .notFound && prepared.lazy == nil {
        continue  // left out of the image: ImagePreparation.removeForks
      }
      guard manager.createFile(atPath: "\(data)/\(path)", contents: Data(bytes)) else {
        throw CommandFailure(description: "write \(data)/\(path)")
      }
    }
    try Data("local all all trust\n".utf8).write(to: URL(fileURLWithPath: "\(data)/pg_hba.conf"))
    try run(["mkdir", "-p", "\(data)/pg_wal/archive_status"])
    try run(["sh", "-c", "cp \(wal)/* \(data)/pg_wal/"])
    try run(["chmod", "-R", "u=rwX,go=", data])
    if getuid() == 0 { try run(["chown", "-R", "postgres:postgres", directory]) }
    return try StockServer(adopting: directory, settings: settings)
  }

  /// Files by path, without those that mean nothing to another server.
  func files() throws -> [String: UInt64] {
    var found: [String: UInt64] = [:]
    guard let walk = FileManager.default.enumerator(atPath: server.dataDirectory) else {
      throw CommandFailure(description: "list \(server.dataDirectory)")
    }
    for case let path as String in walk {
      var status = stat()
      guard lstat("\(server.dataDirectory)/\(path)", &status) == 0,
        status.st_mode & S_IFMT == S_IFREG
      else { continue }
      let kind = DataFileKind(path: path)
      if kind == .wal || kind.isTransient || kind == .control || path.hasPrefix("pg_stat")
        || path.hasSuffix(".conf") || path.hasSuffix("pg_internal.init")
      {
        continue
      }
      if case .relation(let file) = kind, file.fork == .freeSpaceMap { continue }
      found[path] = UInt64(status.st_size)
    }
    return found
  }

  func bytes(_ path: String) throws -> [UInt8] {
    try KilledCluster.file("\(server.dataDirectory)/\(path)")
  }

  func control() throws -> ControlFile { try ControlFile(bytes("global/pg_control"), major: .v15) }

  /// The server of this moment, running, as the platform's superuser.
  func start() throws -> ServerConnection {
    try server.start()
    return ServerConnection(
      host: server.directory, user: ServerAccess.superuser, database: "exzodb")
  }
}
