import Capture
import History
import PostgresFormat
import TestSupport
import Testing

/// What ends the following of a server is found in the WAL that was captured of it.
@Suite struct FollowedEndTests {
  /// With `wal_level` minimal rows that are loaded in bulk are not in the WAL, which goes on as if nothing were missing.
  @Test func minimalWALIsFoundWhereItBegins() async throws {
    try await Scene.run(settings: ["wal_keep_size=1GB"]) { scene in
      try scene.server.psql("CREATE TABLE t AS SELECT 1 AS n")
      let before = try scene.flushedLSN()
      let first = try await scene.startCapture(scene.configuration(durability: .following))
      _ = try await first.flush(to: before, timeout: .seconds(30))
      try await first.stop()
      try Self.dropSlots(scene.server)
      try Self.restart(scene.server, ["wal_level=minimal", "max_wal_senders=0"])
      let minimal = try scene.flushedLSN()
      try scene.server.psql(
        "BEGIN; CREATE TABLE bulk (n int); COPY bulk FROM PROGRAM 'seq 9'; COMMIT")
      try Self.restart(scene.server, ["wal_level=replica", "max_wal_senders=10"])
      // The slot is made anew, and all WAL is there.
      let second = try await scene.startCapture(scene.configuration(durability: .following))
      let end = try scene.flushedLSN()
      _ = try await second.flush(to: end, timeout: .seconds(30))
      try await second.stop()
      let history = try await LineHistory.open(scene.line.description.id, store: scene.store)
      let start = await scene.lineStart()
      let found = try #require(try await history.followedEnd(from: start, to: end))
      #expect(found.cause == .minimalWAL)
      #expect(found.lsn >= before && found.lsn < minimal)
      #expect(try await history.followedEnd(from: start, to: found.lsn) == nil)
      #expect(try await history.followedEnd(from: found.lsn + 1, to: end) == nil)
    }
  }

  private static func dropSlots(_ server: StockServer) throws {
    try server.psql(
      """
      DO $$BEGIN
        PERFORM pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active;
        PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
      END$$
      """)
  }

  private static func restart(_ server: StockServer, _ settings: [String]) throws {
    try server.stop()
    try server.append(settings: settings)
    try server.start()
  }
}
