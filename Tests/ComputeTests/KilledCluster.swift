import Foundation
import PostgresFormat
import TestSupport
import Volume

@testable import Compute

/// The data directory of a server as it was at a checkpoint, and the WAL that the server wrote from
/// there until it was killed.
struct KilledCluster {
  let directory: String
  /// The copy, `pg_wal` empty, `pg_control` saying that it was in production.
  let base: String
  let redo: LSN
  /// The moment from which the copy can be replayed to.
  let consistent: LSN
  /// From the first byte of the segment that holds `redo` to `end`.
  let wal: [UInt8]
  let walStart: LSN
  /// End of the last whole record.
  let end: LSN
  /// Ends of records that lie at or after `consistent`, ascending.
  let boundaries: [LSN]

  static let settings =
    Workloads.settings + [
      "wal_keep_size=16GB", "max_wal_size=16GB", "checkpoint_timeout=1h", "shared_buffers=32MB",
      "autovacuum_naptime=1s", "full_page_writes=off", "track_commit_timestamp=on",
      "autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_insert_scale_factor=0.02",
    ]

  /// Prepares a server, copies it, lets it work and kills it.
  ///
  /// - Parameter online: copies it while `work` runs, all its processes held still, rather than
  ///   stopped before.
  static func make(
    in directory: String, online: Bool = false, settings: [String] = [],
    prepare: (StockServer) throws -> Void, stopped: (StockServer) throws -> Void = { _ in },
    work: @escaping @Sendable (StockServer) async throws -> Void
  ) async throws -> KilledCluster {
    let server = try StockServer(
      in: "\(directory)/server", settings: KilledCluster.settings + settings)
    try server.start()
    try prepare(server)
    let base = "\(directory)/base"
    var consistent: LSN?
    if online {
      async let working: Void = work(server)
      try await Task.sleep(for: .seconds(2))
      try server.psql("CHECKPOINT")
      try await Task.sleep(for: .seconds(1))
      try server.whileHeldStill { try copy(server.dataDirectory, to: base) }
      consistent = try server.insertLSN()
      try await working
    } else {
      try server.stop()
      try stopped(server)
      try copy(server.dataDirectory, to: base)
      try server.start()
      try await work(server)
    }
    try server.kill()
    return try KilledCluster(
      directory: directory, base: base, consistent: consistent,
      wal: "\(server.dataDirectory)/pg_wal")
  }

  private static func copy(_ from: String, to: String) throws {
    try run(["cp", "-a", "--sparse=always", "--reflink=auto", from, to])
    for path in ["pg_wal", "postmaster.pid", "postmaster.opts"] {
      try run(["rm", "-rf", "\(to)/\(path)"])
    }
  }

  private init(directory: String, base: String, consistent: LSN?, wal: String) throws {
    self.directory = directory
    self.base = base
    let path = "\(base)/global/pg_control"
    var control = try ControlFile(KilledCluster.file(path), major: .v15)
    control.state = .inProduction
    try Data(control.bytes).write(to: URL(fileURLWithPath: path))
    redo = control.checkpoint.redo
    var segment = WALSegment(timeline: TimelineID(1), containing: redo)
    walStart = segment.startLSN
    var bytes: [UInt8] = []
    while FileManager.default.fileExists(atPath: "\(wal)/\(segment.fileName)") {
      bytes += try KilledCluster.file("\(wal)/\(segment.fileName)")
      segment = segment.next
    }
    let least = consistent ?? redo
    (end, boundaries) = try KilledCluster.boundaries(of: bytes, from: walStart, redo, least)
    self.wal = Array(bytes[..<Int(end - walStart)])
    self.consistent = least
  }

  private static func boundaries(
    of bytes: [UInt8], from start: LSN, _ redo: LSN, _ least: LSN
  ) throws -> (LSN, [LSN]) {
    var reader = WALStreamReader(format: .v15, startingAtRecord: redo)
    var ends: [LSN] = []
    do {
      _ = try bytes.withUnsafeBytes {
        try reader.feed(
          UnsafeRawBufferPointer(rebasing: $0[Int(redo - start)...]), at: redo
        ) { record in
          if record.endLSN >= least { ends.append(record.endLSN) }
        }
      }
    } catch is FormatError {
      // Behind the last record lie recycled segments' old bytes: the log ends there.
    }
    return (reader.lastRecordEnd, ends)
  }

  static func file(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// The tail's bytes up to a moment.
  func tail(to moment: LSN) -> [UInt8] { Array(wal[..<Int(moment - walStart)]) }

  /// A copy of the base with this WAL and nothing after it.
  func copyBase(_ name: String, wal: [UInt8]) throws -> StockServer {
    let target = "\(directory)/\(name)"
    try StockServer.makeOwnedDirectory(target)
    try run(["cp", "-a", "--sparse=always", "--reflink=auto", base, "\(target)/data"])
    try writeSegments(wal, into: "\(target)/data/pg_wal")
    try run(["mkdir", "-p", "\(target)/data/pg_wal/archive_status"])
    if getuid() == 0 { try run(["chown", "-R", "postgres:postgres", target]) }
    return try StockServer(
      adopting: target,
      settings: [
        "autovacuum=off", "max_logical_replication_workers=0", "archive_mode=off",
        "recovery_init_sync_method=syncfs",
      ])
  }

  func writeSegments(_ wal: [UInt8], into path: String) throws {
    try run(["mkdir", "-p", path])
    let size = Int(WALSegment.defaultSize)
    for offset in stride(from: 0, to: max(wal.count, 1), by: size) {
      let segment = WALSegment(
        timeline: TimelineID(1), containing: walStart + UInt64(offset))
      var bytes = Data(wal[offset..<min(offset + size, wal.count)])
      bytes.append(Data(count: size - bytes.count))
      try bytes.write(to: URL(fileURLWithPath: "\(path)/\(segment.fileName)"))
    }
  }

  /// The tail to a moment, rewritten in runs of random sizes, and what came of it.
  func rewrite(to moment: LSN, seed: UInt64) throws -> (
    wal: [UInt8], outcome: RewrittenTail.Outcome
  ) {
    var random = SeededRandom(seed: seed)
    var tail = RewrittenTail(
      format: .v15, redo: redo, segmentSize: WALSegment.defaultSize,
      image: try DirectoryTree.read(base))
    let original = wal[..<Int(moment - walStart)]
    var done: [UInt8] = []
    done.reserveCapacity(original.count)
    while done.count < original.count {
      let count = min(random.pick(1...262_144), original.count - done.count)
      var piece = Array(original[done.count..<done.count + count])
      let patches = try piece.withUnsafeMutableBytes {
        try tail.append($0, at: walStart + UInt64(done.count))
      }
      for patch in patches {
        let offset = Int(patch.lsn - walStart)
        done.replaceSubrange(offset..<offset + patch.bytes.count, with: patch.bytes)
      }
      done += piece
    }
    return (done, try tail.finish(target: moment, modified: 0))
  }

}

extension StockServer {
  /// Runs `body` while no process of the server runs, as if the disk had been copied in an instant.
  func whileHeldStill(_ body: () throws -> Void) throws {
    let stopped = try processes()
    for process in stopped { Foundation.kill(process, SIGSTOP) }
    // A backend that was started meanwhile.
    let later = try processes().filter { !stopped.contains($0) }
    for process in later { Foundation.kill(process, SIGSTOP) }
    defer { for process in stopped + later { Foundation.kill(process, SIGCONT) } }
    usleep(100_000)
    try body()
  }

  /// Processes whose working directory is the data directory.
  private func processes() throws -> [Int32] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { name in
      guard let process = Int32(name),
        // A process that has ended meanwhile works nowhere.
        let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(name)/cwd"),
        path == dataDirectory
      else { return nil }
      return process
    }
  }
}
