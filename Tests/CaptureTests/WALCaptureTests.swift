import Capture
import Foundation
import History
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

@Suite struct WALCaptureTests {
  @Test func theStoreHoldsTheServersBytes() async throws {
    try await Scene.run { scene in
      let capture = try await scene.startCapture()
      try scene.server.pgbench(["-i", "-s", "2", "-q"])
      try scene.server.pgbench(["-c", "4", "-t", "200"])
      try scene.server.psql(
        "CREATE TABLE gone AS SELECT 1; DROP TABLE gone; SELECT pg_switch_wal()")
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) i; DELETE FROM t")
      let end = try scene.flushedLSN()
      let uploaded = try await capture.flush(to: end, timeout: .seconds(30))
      #expect(uploaded >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      let positions = capture.positions
      #expect(positions.receivedLSN >= positions.flushedLSN)
      #expect(positions.flushedLSN >= positions.uploadedLSN)
      #expect(positions.lag == .zero)
      let history = try await LineHistory.open(
        LineID(rawValue: "ln-0123456789abcdef"), store: scene.store)
      #expect(await history.gaps().isEmpty)
      let activity = try await history.activity(from: scene.lineStart(), to: end)
      #expect(activity.minutes.reduce(0) { $0 + $1.commits } >= 800)
      #expect(activity.minutes.flatMap(\.heapDeletes.values).reduce(0, +) >= 1000)
      #expect(activity.fileChanges.contains { $0.kind == .dropped })
      try await capture.stop()
    }
  }

  @Test func anIdleServerIsLeftInPeace() async throws {
    try await Scene.run { scene in
      let capture = try await scene.startCapture()
      // The server itself writes a record now and then; look at a second in which it does not.
      var isCompared = false
      for _ in 0..<20 where !isCompared {
        let end = try scene.flushedLSN()
        _ = try await capture.flush(to: end, timeout: .seconds(30))
        let objects = try await scene.store.list(prefix: "", after: nil, limit: 1000).count
        try await Task.sleep(for: .seconds(1))
        let after = try await scene.store.list(prefix: "", after: nil, limit: 1000).count
        guard try scene.flushedLSN() == end else { continue }
        #expect(after == objects)
        isCompared = true
      }
      #expect(isCompared)
      try await capture.stop()
    }
  }

  @Test func aFlushAheadOfTheServerTimesOutAndLosesNothing() async throws {
    try await Scene.run { scene in
      let capture = try await scene.startCapture()
      let far = try scene.flushedLSN() + 1_000_000
      let error = await #expect(throws: CaptureError.self) {
        try await capture.flush(to: far, timeout: .milliseconds(100))
      }
      #expect(error?.code == .timeout)
      let waiting = Task { try await capture.flush(to: far, timeout: .seconds(60)) }
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 50000) i")
      #expect(try await waiting.value >= far)
      try await capture.stop()
      let stopped = await #expect(throws: CaptureError.self) {
        try await capture.flush(to: far + 1_000_000, timeout: .seconds(5))
      }
      #expect(stopped?.code == .stopped)
    }
  }

  @Test func aFastShutdownIsDrainedToItsLastRecord() async throws {
    for durability in [CaptureDurability.local, .objectStore] {
      try await Scene.run { scene in
        let capture = try await scene.startCapture(scene.configuration(durability: durability))
        try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
        _ = try await capture.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
        let ending = Task { try await capture.waitServerEnd(timeout: .seconds(60)) }
        while !capture.positions.isStreaming { await Task.yield() }
        let start = ContinuousClock.now
        try scene.server.stop(mode: "fast")
        let took = ContinuousClock.now - start
        let end = try await ending.value
        #expect(try await capture.flush(to: end, timeout: .seconds(10)) >= end)
        let control = try run(
          ["\(scene.server.binaries)/pg_controldata", scene.server.dataDirectory],
          asPostgresUser: true
        ).output.split(separator: "\n").first { $0.hasPrefix("Latest checkpoint location:") }
        let word = try #require(control?.split(separator: " ").last)
        let checkpoint = try #require(LSN(String(word)))
        #expect(end > checkpoint)
        #expect(try await scene.storeEqualsServer(upTo: end))
        print("fast shutdown with capture (\(durability)) took \(took)")
        try await capture.stop()
      }
    }
  }

  @Test func aKilledServerIsFollowedThroughItsRecovery() async throws {
    try await Scene.run { scene in
      let capture = try await scene.startCapture()
      for round in 1...3 {
        try scene.server.psql("CREATE TABLE t\(round) AS SELECT generate_series(1, 30000) i")
        try scene.server.stop(mode: "immediate")
        try scene.server.start()
      }
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }

  @Test func commitsWaitForTheStoreWhereThatIsAskedFor() async throws {
    try await Scene.run(settings: ["synchronous_standby_names='FIRST 1 (exzo_capture)'"]) { scene in
      let capture = try await scene.startCapture(scene.configuration(durability: .objectStore))
      let log = EventLog(capture)
      try scene.server.psql("CREATE TABLE t (i int)")
      scene.store.isAway = true
      let parameters = scene.parameters
      let pool = PostgresConnectionPool(parameters, size: 1)
      let isDone = Task {
        try await pool.withConnection { try $0.query("INSERT INTO t VALUES (1)").rowsAffected }
      }
      _ = try await log.first { if case .storeUnreachable = $0 { true } else { false } }
      let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' "
        + "AND backend_type = 'client backend'"
      while try scene.server.psql(waiting) != "1" {}
      #expect(capture.positions.lag > .zero)
      scene.store.isAway = false
      #expect(try await isDone.value == 1)
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      _ = try await log.first { if case .storeReachable = $0 { true } else { false } }
      await pool.close()
      try await capture.stop()
    }
  }

  @Test func aStoreThatWasAwayIsCaughtUpWith() async throws {
    try await Scene.run { scene in
      var configuration = scene.configuration()
      configuration.chunkLimit = 256 << 10
      let capture = try await scene.startCapture(configuration)
      scene.store.isAway = true
      try scene.server.pgbench(["-i", "-s", "3", "-q"])
      let end = try scene.flushedLSN()
      _ = try await capture.waitReceived(end, timeout: .seconds(30))
      while scene.store.putsFailed < 3 { try await Task.sleep(for: .milliseconds(5)) }
      let away = capture.positions
      #expect(!away.isStoreReachable)
      #expect(away.lagBytes > 1 << 20)
      #expect(away.lag > .zero)
      // The server need not keep what is in the spool.
      while capture.positions.flushedLSN < end { try await Task.sleep(for: .milliseconds(5)) }
      scene.store.isAway = false
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      #expect(capture.positions.lag == .zero)
      try await capture.stop()
    }
  }

  @Test func aFullSpoolStopsReceivingAndLosesNothing() async throws {
    try await Scene.run { scene in
      var configuration = scene.configuration()
      configuration.spoolLimit = 8 << 20
      configuration.chunkLimit = 1 << 20
      let capture = try await scene.startCapture(configuration)
      let log = EventLog(capture)
      scene.store.isAway = true
      try scene.server.pgbench(["-i", "-s", "3", "-q"])
      for percent in [50, 80, 100] {
        _ = try await log.first {
          if case .spoolFilling(percent) = $0 { true } else { false }
        }
      }
      let end = try scene.flushedLSN()
      #expect(capture.positions.receivedLSN < end)
      scene.store.isAway = false
      #expect(try await capture.flush(to: end, timeout: .seconds(60)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }
}
