import Capture
import Foundation
import History
import ObjectStorage
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

/// Numbers that a seed decides; printed with a failure, it replays the run.
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

@Suite struct CaptureRestartTests {
  @Test func restartsAtAnyPointLeaveOneRunOfBytes() async throws {
    let seed = UInt64(ProcessInfo.processInfo.environment["EXZO_TEST_SEED"] ?? "") ?? 20_261_123
    var numbers = SeededNumbers(seed: seed)
    try await Scene.run { scene in
      try scene.server.pgbench(["-i", "-s", "1", "-q"])
      let load = Task.detached { try scene.server.pgbench(["-c", "2", "-T", "6", "-n"]) }
      var line = scene.line
      for round in 0..<12 {
        let capture = try await scene.startCapture(scene.configuration(line: line))
        if round % 3 == 1 { scene.store.isAway = true }
        try await Task.sleep(for: .milliseconds(UInt64.random(in: 0..<600, using: &numbers)))
        try await capture.stop()
        scene.store.isAway = false
        // A new writer, as a new agent would have.
        line = try await LineWriter.resume(
          LineID(rawValue: "ln-0123456789abcdef"), environment: scene.environment)
      }
      _ = try await load.value
      let capture = try await scene.startCapture(scene.configuration(line: line))
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(60)) >= end, "seed \(seed)")
      #expect(try await scene.storeEqualsServer(upTo: end), "seed \(seed)")
      try await capture.stop()
    }
  }

  @Test func whatWasSpooledIsUploadedWithoutTheServer() async throws {
    try await Scene.run { scene in
      scene.store.isAway = true
      let first = try await scene.startCapture()
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 100000) i")
      let end = try scene.flushedLSN()
      while first.positions.flushedLSN < end { try await Task.sleep(for: .milliseconds(5)) }
      try await first.stop()
      #expect(await scene.line.uploadedLSN < end)
      let bytes = try scene.serverWAL(await scene.lineStart(), end)
      try scene.server.stop(mode: "immediate")
      scene.store.isAway = false
      let second = try await scene.startCapture()
      #expect(try await second.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storedWAL(scene.lineStart(), end) == bytes)
      try await second.stop()
    }
  }

  @Test func aLostSpoolIsStreamedAgainFromTheStoresSegment() async throws {
    try await Scene.run { scene in
      let first = try await scene.startCapture()
      try scene.server.pgbench(["-i", "-s", "2", "-q"])
      _ = try await first.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
      try await first.stop()
      try run(["rm", "-r", scene.directory + "/spool"])
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) i")
      let second = try await scene.startCapture()
      let end = try scene.flushedLSN()
      #expect(try await second.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await second.stop()
    }
  }

  @Test func aDamagedSpoolIsUsedUpToTheDamage() async throws {
    try await Scene.run { scene in
      scene.store.isAway = true
      let first = try await scene.startCapture()
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 100000) i")
      let end = try scene.flushedLSN()
      while first.positions.flushedLSN < end { try await Task.sleep(for: .milliseconds(5)) }
      try await first.stop()
      let segment = scene.directory + "/spool/0000000000000001.wal"
      let file = try FileHandle(forUpdating: URL(fileURLWithPath: segment))
      try file.seek(toOffset: 3_000_000)
      try file.write(contentsOf: Data([0xFF, 0xFE, 0xFD]))
      try file.close()
      scene.store.isAway = false
      let second = try await WALCapture.open(scene.configuration())
      #expect(second.positions.receivedLSN < LSN(0x100_0000 + 3_000_000))
      second.start()
      #expect(try await second.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await second.stop()
    }
  }

  @Test func bytesOtherThanTheStoresAreRefused() async throws {
    try await Scene.run { scene in
      let first = try await scene.startCapture()
      try scene.server.psql("CREATE TABLE t AS SELECT generate_series(1, 10000) i")
      let end = try scene.flushedLSN()
      _ = try await first.flush(to: end, timeout: .seconds(30))
      try await first.stop()
      try run(["rm", "-r", scene.directory + "/spool"])
      try scene.server.stop(mode: "fast")
      // The server comes back with one flipped bit where the store's WAL is.
      let file = try FileHandle(
        forUpdating: URL(
          fileURLWithPath: scene.server.dataDirectory + "/pg_wal/000000010000000000000001"))
      try file.seek(toOffset: 0x1000)
      let byte = try #require(try file.read(upToCount: 1)?.first)
      try file.seek(toOffset: 0x1000)
      try file.write(contentsOf: Data([byte ^ 1]))
      try file.close()
      try scene.server.start()
      let second = try await scene.startCapture()
      let error = await #expect(throws: CaptureError.self) {
        try await second.flush(to: end + 1_000_000, timeout: .seconds(30))
      }
      #expect(error?.code == .differsFromStore)
      #expect(error?.lsn == LSN(0x100_1000))
      #expect(second.positions.failure != nil)
      #expect(await scene.line.uploadedLSN >= end)
      try await second.stop()
    }
  }

  @Test func anotherServerIsRefused() async throws {
    try await Scene.run { scene in
      let other = try StockServer(in: scene.directory + "/other")
      try other.start()
      // Cleaned up below also where an expectation fails; errors there matter less than the first.
      defer { try? other.stop(mode: "immediate") }
      var configuration = scene.configuration()
      configuration.connection.host = other.directory
      let capture = try await scene.startCapture(configuration)
      let error = await #expect(throws: CaptureError.self) {
        try await capture.flush(to: LSN(0x900_0000), timeout: .seconds(30))
      }
      #expect(error?.code == .wrongServer)
      try await capture.stop()
    }
  }

  @Test func aDroppedSlotIsMadeAgain() async throws {
    try await Scene.run { scene in
      let first = try await scene.startCapture()
      try scene.server.psql("CREATE TABLE t (i int)")
      _ = try await first.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
      try await first.stop()
      let slots = "SELECT count(*) FROM pg_replication_slots"
      while try scene.server.psql(slots + " WHERE active") != "0" {}
      try scene.server.psql("SELECT pg_drop_replication_slot('exzo_capture')")
      let second = try await scene.startCapture()
      let log = EventLog(second)
      try scene.server.psql("INSERT INTO t VALUES (1)")
      let end = try scene.flushedLSN()
      #expect(try await second.flush(to: end, timeout: .seconds(30)) >= end)
      _ = try await log.first { if case .slotRecreated(gap: nil) = $0 { true } else { false } }
      #expect(try scene.server.psql(slots) == "1")
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await second.stop()
    }
  }

  @Test func aGapIsToldAndNeverBridged() async throws {
    try await Scene.run(settings: ["wal_keep_size=0", "wal_recycle=off"]) { scene in
      let first = try await scene.startCapture()
      try scene.server.psql("CREATE TABLE t (i int)")
      let known = try await first.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
      try await first.stop()
      while try scene.server.psql("SELECT count(*) FROM pg_replication_slots WHERE active") != "0" {
      }
      try scene.server.psql("SELECT pg_drop_replication_slot('exzo_capture')")
      for _ in 1...3 {
        try scene.server.psql("INSERT INTO t VALUES (1); SELECT pg_switch_wal(); CHECKPOINT")
      }
      let uploaded = await scene.line.uploadedLSN
      #expect(uploaded >= known)
      let second = try await scene.startCapture()
      let log = EventLog(second)
      let error = await #expect(throws: CaptureError.self) {
        try await second.flush(to: uploaded + 1_000_000_000, timeout: .seconds(30))
      }
      #expect(error?.code == .gap)
      let gap = try #require(error?.gap)
      #expect(gap.lowerBound <= uploaded)
      #expect(gap.upperBound > uploaded)
      _ = try await log.first { if case .slotRecreated(gap) = $0 { true } else { false } }
      #expect(await scene.line.uploadedLSN == uploaded)
      // From the gap's end on the server keeps everything.
      let held = try scene.server.psql("SELECT restart_lsn FROM pg_replication_slots")
      #expect(LSN(held) == gap.upperBound)
      try await second.stop()
    }
  }
}
