import Capture
import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

/// A busy server's WAL is read from its files; what counts is that nobody can tell from the store.
@Suite struct WALFilesTests {
  @Test func aBusyServersFilesAreReadUntilItIsQuiet() async throws {
    try await Scene.run(settings: ["wal_keep_size=1GB"]) { scene in
      let capture = try await scene.startCapture(scene.fileConfiguration())
      try scene.server.pgbench(["-i", "-s", "1", "-q"])
      let load = try scene.load(seconds: 6)
      try await scene.until("the stream is closed") { try scene.walsenders() == 0 }
      #expect(capture.positions.isStreaming, "files count as well")
      let before = try scene.slotLSN()
      try await scene.until("the slot moves") { try scene.slotLSN() > before }
      // Several segments, some of them recycled ones.
      try scene.server.psql("SELECT pg_switch_wal(); CHECKPOINT")
      try load.wait()
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await scene.until("a quiet server is streamed from") { try scene.walsenders() == 1 }
      try scene.server.psql("CREATE TABLE later AS SELECT 1")
      let later = try scene.flushedLSN()
      #expect(try await capture.flush(to: later, timeout: .seconds(30)) >= later)
      #expect(try await scene.storeEqualsServer(upTo: later))
      try await capture.stop()
    }
  }

  @Test func aBusyServerThatShutsDownIsDrainedToItsLastRecord() async throws {
    try await Scene.run(settings: ["wal_keep_size=1GB"]) { scene in
      let capture = try await scene.startCapture(scene.fileConfiguration())
      try scene.server.pgbench(["-i", "-s", "1", "-q"])
      let load = try scene.load(seconds: 60)
      try await scene.until("the stream is closed") { try scene.walsenders() == 0 }
      try await capture.expectServerEnd(timeout: .seconds(10))
      #expect(try scene.walsenders() == 1)
      let ending = Task { try await capture.waitServerEnd(timeout: .seconds(60)) }
      await Task.yield()
      try scene.server.stop(mode: "fast")
      load.end()
      let end = try await ending.value
      #expect(try await capture.flush(to: end, timeout: .seconds(10)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }

  @Test func aKilledBusyServerIsFollowedThroughItsRecovery() async throws {
    try await Scene.run(settings: ["wal_keep_size=1GB"]) { scene in
      let capture = try await scene.startCapture(scene.fileConfiguration())
      try scene.server.pgbench(["-i", "-s", "1", "-q"])
      for _ in 1...2 {
        let load = try scene.load(seconds: 60)
        try await scene.until("the stream is closed") { try scene.walsenders() == 0 }
        try scene.server.kill()
        load.end()
        try scene.server.start()
      }
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }

  @Test func filesThatCannotBeReadAreStreamedInstead() async throws {
    try await Scene.run(settings: ["wal_keep_size=1GB"]) { scene in
      var configuration = scene.fileConfiguration()
      // An empty disk: nothing opens.
      let disk = SimulatedFileSystem()
      configuration.walFileSystem = disk
      let capture = try await scene.startCapture(configuration)
      let log = EventLog(capture)
      try scene.server.pgbench(["-i", "-s", "1", "-q"])
      let load = try scene.load(seconds: 4)
      _ = try await log.first { if case .disconnected = $0 { true } else { false } }
      #expect(disk.callCount > 0)
      try load.wait()
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end)
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }
}

/// pgbench beside the test.
private struct Load {
  let program: BackgroundProgram

  /// Ends it; its server may be gone already.
  func end() {
    program.signal(SIGTERM)
    _ = program.wait()
  }

  func wait() throws {
    guard program.wait() == 0 else { throw Unexpected(description: "pgbench failed") }
  }
}

extension Scene {
  fileprivate func fileConfiguration() -> CaptureConfiguration {
    var configuration = configuration()
    configuration.walDirectory = "\(server.dataDirectory)/pg_wal"
    return configuration
  }

  fileprivate func load(seconds: Int) throws -> Load {
    Load(
      program: try BackgroundProgram(
        [
          "\(server.binaries)/pgbench", "-n", "-c", "4", "-T", "\(seconds)", "-h", server.directory,
          "-U", "postgres", "postgres",
        ], log: "\(directory)/pgbench.log"))
  }

  fileprivate func walsenders() throws -> Int {
    Int(try server.psql("SELECT count(*) FROM pg_stat_replication")) ?? -1
  }

  fileprivate func slotLSN() throws -> LSN {
    LSN(try server.psql("SELECT restart_lsn FROM pg_replication_slots")) ?? .invalid
  }

  fileprivate func until(_ what: String, _ isSo: () throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < deadline {
      if try isSo() { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw Unexpected(description: "it did not come to pass that \(what)")
  }
}
