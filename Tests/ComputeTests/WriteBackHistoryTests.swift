import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Keyframes of a server whose writes the kernel keeps for a while.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct WriteBackHistoryTests {
  /// A B-tree is built past the server's buffers and synced at its end: a checkpoint in the middle syncs nothing
  /// of it, and what was logged before that checkpoint no replay from it gives back.
  @Test func aKeyframeInTheMiddleOfAnIndexBuildHoldsThePagesBuiltSoFar() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot {
        $0.completeLayers = .always
        // No checkpoints but ours.
        $0.restoreObjective = 10_000
        $0.settings.extra = ["maintenance_work_mem": "256MB", "autovacuum": "off"]
      }
      try letKernelKeepWrites(engine.fleet.directory(line: root).mountPoint)
      try engine.psql(root, BTreeBuild.preparation)
      let build = try BTreeBuild(on: engine.connection(root))
      try build.begin()
      // The file is new: this checkpoint syncs it. The next one has no reason to.
      try await engine.keyframe(root)
      try build.waitUntilItWrites()
      let start = try #require(LSN(try engine.psql(root, "SELECT pg_current_wal_insert_lsn()")))
      try engine.psql(root, "CHECKPOINT")
      #expect(try build.isWriting, "the checkpoint came too late: this shows nothing")
      try build.finish()
      let moment = try #require(LSN(try engine.psql(root, "SELECT pg_current_wal_flush_lsn()")))
      #expect(try await engine.head(root) >= moment)
      try await requireKeyframe(engine, root, redoAfter: start, consistentBy: moment)
      for way in [OpeningWay.replay, .lazy] {
        let (branch, status) = try await engine.open(root, at: moment) { $0.opening = way }
        #expect(status.opening == way)
        #expect(try AmCheck.failures(on: engine.connection(branch)) == [], "\(way)")
        let found = try engine.psql(
          branch,
          """
          SET enable_seqscan = off; SET enable_bitmapscan = off;
          SELECT count(*) FROM t WHERE filler > ''
          """)
        #expect(found == "\(BTreeBuild.rows)", "\(way)")
        try await engine.fleet.destroy(line: branch)
      }
    }
  }

  /// Without one, the moment would be opened from one that was made before the index was written.
  private func requireKeyframe(
    _ engine: Engine, _ line: String, redoAfter start: LSN, consistentBy end: LSN
  ) async throws {
    for _ in 0..<600 {
      let history = try await engine.history(line)
      if let newest = await history.keyframes.last, newest.redoLSN >= start {
        #expect(newest.consistentLSN <= end, "the keyframe came too late: this shows nothing")
        return
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "no keyframe of \(line) after \(start)")
  }
}

/// The kernel begins to write a young mount's pages within milliseconds: here it is to keep them.
private func letKernelKeepWrites(_ mountPoint: String) throws {
  var status = stat()
  guard stat(mountPoint, &status) == 0 else {
    throw CommandFailure(description: "stat \(mountPoint): error \(errno)")
  }
  let setting = "/sys/class/bdi/\(status.st_dev >> 8 & 0xFFF):\(status.st_dev & 0xFF)/strict_limit"
  let file = open(setting, O_WRONLY)
  defer { close(file) }
  guard file >= 0, write(file, "0", 1) == 1 else {
    throw CommandFailure(description: "write \(setting): error \(errno)")
  }
}

/// A CREATE INDEX that waits before it writes the index's pages, and then takes some seconds to.
private final class BTreeBuild: @unchecked Sendable {
  static let rows = 1_500_000
  static let preparation = """
    CREATE TABLE t AS SELECT n, md5(n::text) AS filler FROM generate_series(1, \(rows)) AS n;
    CREATE FUNCTION held(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
      IF n = 5 THEN
        PERFORM pg_advisory_lock_shared(5); PERFORM pg_advisory_unlock_shared(5);
      END IF;
      RETURN n;
    END $$
    """
  private let server: ServerConnection
  private let holder: PsqlSession
  private let builder: PsqlSession
  private let done = DispatchSemaphore(value: 0)
  // Written by the builder's thread before `done` is signalled.
  private var failure: (any Error)?

  init(on server: ServerConnection) throws {
    self.server = server
    holder = try PsqlSession(server)
    builder = try PsqlSession(server)
    try holder.execute("SELECT pg_advisory_lock(5)")
    try builder.execute("SET max_parallel_maintenance_workers = 0")
  }

  deinit {
    holder.close()
    builder.close()
  }

  /// Begins, up to where it waits: the index's file is there, and empty.
  func begin() throws {
    Thread.detachNewThread { [self] in
      do {
        try builder.execute("CREATE INDEX built ON t (filler, held(n))")
      } catch { failure = error }
      done.signal()
    }
    try wait("begin") {
      try server.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        == "1"
    }
  }

  /// Lets it go on, and returns once a part of the index is written and logged.
  func waitUntilItWrites() throws {
    try holder.execute("SELECT pg_advisory_unlock(5)")
    try wait("write pages") { try isWriting }
  }

  var isWriting: Bool {
    get throws {
      let rows = try server.psql(
        """
        SELECT coalesce(sum(tuples_done), 0) FROM pg_stat_progress_create_index
          WHERE phase LIKE '%loading%'
        """)
      return Int(rows) ?? 0 > 20_000
    }
  }

  func finish() throws {
    done.wait()
    if let failure { throw failure }
  }

  private func wait(_ what: String, until isSo: () throws -> Bool) throws {
    for _ in 0..<10_000 {
      if try isSo() { return }
      if let failure { throw failure }
      usleep(2_000)
    }
    throw CommandFailure(description: "build an index: it does not \(what)")
  }
}
