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
      try engine.psql(
        root, "CREATE TABLE t AS SELECT n, md5(n::text) AS filler FROM generate_series(1, 2000000) n")
      let build = try BTreeBuild(on: engine.connection(root))
      try build.waitUntilItWrites()
      // The first checkpoint syncs the file, because it is new; the second has no reason to.
      try await engine.keyframe(root)
      try await engine.keyframe(root)
      #expect(try build.isWriting, "the keyframe came too late: this shows nothing")
      try build.finish()
      let end = try engine.psql(root, "SELECT pg_current_wal_flush_lsn()")
      let moment = try #require(LSN(end))
      #expect(try await engine.head(root) >= moment)
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
        #expect(found == "2000000", "\(way)")
        try await engine.fleet.destroy(line: branch)
      }
    }
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

/// A CREATE INDEX that takes some seconds to write the index's pages.
private final class BTreeBuild: @unchecked Sendable {
  private let server: ServerConnection
  private let builder: PsqlSession
  private let done = DispatchSemaphore(value: 0)
  // Written by the builder's thread before `done` is signalled.
  private var failure: (any Error)?

  init(on server: ServerConnection) throws {
    self.server = server
    builder = try PsqlSession(server)
    try builder.execute("SET max_parallel_maintenance_workers = 0")
  }

  deinit { builder.close() }

  /// Begins, and returns once a part of the index is written and logged.
  func waitUntilItWrites() throws {
    Thread.detachNewThread { [self] in
      do { try builder.execute("CREATE INDEX built ON t (filler, n)") } catch { failure = error }
      done.signal()
    }
    for _ in 0..<3000 {
      if try isWriting { return }
      usleep(2_000)
    }
    throw CommandFailure(description: "build an index: its pages are not being written")
  }

  var isWriting: Bool {
    get throws {
      let pages = try server.psql(
        """
        SELECT coalesce(sum(tuples_done), 0) FROM pg_stat_progress_create_index
          WHERE phase LIKE '%loading%'
        """)
      return Int(pages) ?? 0 > 20_000
    }
  }

  func finish() throws {
    done.wait()
    if let failure { throw failure }
  }
}
