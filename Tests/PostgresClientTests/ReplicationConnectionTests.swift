import Foundation
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

@Suite struct ReplicationConnectionTests {
  @Test func slotsAreCreatedReadAndDropped() async throws {
    try await withServer { server, parameters in
      let replication = try ReplicationConnection(parameters)
      let system = try replication.identifySystem()
      #expect(system.timeline == TimelineID(1))
      let expected = try server.psql("SELECT system_identifier FROM pg_control_system()")
      #expect(String(system.systemIdentifier) == expected)
      #expect(try replication.readPhysicalSlot("exzo_capture") == nil)
      try replication.createPhysicalSlot("exzo_capture")
      let slot = try replication.readPhysicalSlot("exzo_capture")
      let restart = try #require(slot?.restartLSN)
      #expect(restart <= system.flushedLSN)
      let duplicate = #expect(throws: PostgresError.self) {
        try replication.createPhysicalSlot("exzo_capture")
      }
      #expect(duplicate?.sqlState == "42710")
      try replication.dropSlot("exzo_capture")
      #expect(try replication.readPhysicalSlot("exzo_capture") == nil)
      let absent = #expect(throws: PostgresError.self) {
        try replication.startStreaming(slot: "gone", from: LSN(0x100_0000), timeline: TimelineID(1))
      }
      #expect(absent?.sqlState == "42704")
      #expect(try replication.setting("wal_segment_size") == "16MB")
    }
  }

  @Test func streamedBytesAreTheServersAndStatusIsHeard() async throws {
    try await withServer { server, parameters in
      let replication = try ReplicationConnection(parameters)
      try replication.createPhysicalSlot("s")
      let start = LSN(0x100_0000)
      #expect(
        try replication.startStreaming(slot: "s", from: start, timeline: TimelineID(1)) == nil)
      try server.psql("CREATE TABLE t AS SELECT generate_series(1, 20000) i")
      let flushed = try server.psql("SELECT pg_current_wal_flush_lsn()")
      let end = try #require(LSN(flushed))
      var bytes: [UInt8] = []
      while start + UInt64(bytes.count) < end {
        try replication.receive(timeout: .seconds(10), wake: nil) { event in
          guard case .wal(let position, _, let piece) = event else { return }
          #expect(position == start + UInt64(bytes.count))
          bytes += piece
        }
      }
      let segment = try FileHandle(
        forReadingFrom: URL(
          fileURLWithPath: server.dataDirectory + "/pg_wal/000000010000000000000001"))
      let file = try #require(try segment.read(upToCount: bytes.count))
      #expect(bytes == Array(file))
      let status = StandbyStatus(written: end, flushed: end, applied: start)
      try replication.send(status, clientTime: 0, asksReply: true)
      var isAnswered = false
      while !isAnswered {
        try replication.receive(timeout: .seconds(10), wake: nil) { event in
          if case .keepalive = event { isAnswered = true }
        }
      }
      let seen = try server.psql(
        "SELECT write_lsn, flush_lsn, replay_lsn FROM pg_stat_replication")
      #expect(seen == "\(end)|\(end)|\(start)")
    }
  }

  @Test func aWaitEndsByTimeoutAndByWake() async throws {
    try await withServer { server, parameters in
      let replication = try ReplicationConnection(parameters)
      let end = try replication.identifySystem().flushedLSN
      _ = try replication.startStreaming(slot: nil, from: end, timeline: TimelineID(1))
      let wake = try WakePipe()
      func isIdle(_ timeout: Duration) throws -> Bool {
        try replication.receive(timeout: timeout, wake: wake) {
          if case .idle = $0 { true } else { false }
        }
      }
      // A new stream opens with a keepalive.
      while try !isIdle(.milliseconds(50)) {}
      let thread = Thread { wake.wake() }
      thread.start()
      let start = ContinuousClock.now
      while try !isIdle(.seconds(600)) {}
      #expect(ContinuousClock.now - start < .seconds(300))
    }
  }

  @Test func aFastShutdownEndsTheStreamOnceAllIsConfirmed() async throws {
    try await withServer { server, parameters in
      let replication = try ReplicationConnection(parameters)
      var end = try replication.identifySystem().flushedLSN
      _ = try replication.startStreaming(slot: nil, from: end, timeline: TimelineID(1))
      let (stopped, signal) = AsyncStream<Void>.makeStream()
      let thread = Thread {
        do { try server.stop(mode: "fast") } catch { Issue.record(error) }
        signal.finish()
      }
      thread.start()
      var isEnded = false
      while !isEnded {
        var isDue = false
        try replication.receive(timeout: .seconds(30), wake: nil) { event in
          switch event {
          case .wal(let start, _, let bytes): end = start + UInt64(bytes.count)
          case .keepalive(_, let isReplyRequested): isDue = isReplyRequested
          case .idle: Issue.record("the server neither ended nor sent anything")
          case .ended(let next):
            #expect(next == nil)
            isEnded = true
          }
        }
        if isDue {
          try replication.send(
            StandbyStatus(written: end, flushed: end, applied: end), clientTime: 0)
        }
      }
      for await _ in stopped {}
      let control = try run(
        ["\(server.binaries)/pg_controldata", server.dataDirectory], asPostgresUser: true)
      let line = control.output.split(separator: "\n").first {
        $0.hasPrefix("Latest checkpoint location:")
      }
      let word = try #require(line?.split(separator: " ").last)
      let checkpoint = try #require(LSN(String(word)))
      #expect(end > checkpoint)
    }
  }

  @Test func aPromotedServerNamesItsNextTimeline() async throws {
    try await withServer { server, parameters in
      try server.stop(mode: "fast")
      try run(["touch", "\(server.dataDirectory)/standby.signal"], asPostgresUser: true)
      try server.start()
      let replication = try ReplicationConnection(parameters)
      let start = try replication.identifySystem().flushedLSN
      _ = try replication.startStreaming(slot: nil, from: start, timeline: TimelineID(1))
      try server.psql("SELECT pg_promote()")
      var next: TimelineSwitch?
      while next == nil {
        try replication.receive(timeout: .seconds(30), wake: nil) { event in
          if case .ended(let change) = event { next = change }
        }
      }
      #expect(next?.timeline == TimelineID(2))
      let history = String(decoding: try replication.timelineHistory(TimelineID(2)), as: UTF8.self)
      let switchLSN = try #require(next?.startLSN)
      #expect(history.contains(switchLSN.description))
      #expect(
        try replication.startStreaming(slot: nil, from: switchLSN, timeline: TimelineID(2)) == nil)
    }
  }

  @Test func aKilledWalsenderIsAConnectionLoss() async throws {
    try await withServer { server, parameters in
      let replication = try ReplicationConnection(parameters)
      let end = try replication.identifySystem().flushedLSN
      _ = try replication.startStreaming(slot: nil, from: end, timeline: TimelineID(1))
      try server.stop(mode: "immediate")
      let error = #expect(throws: PostgresError.self) {
        while true { try replication.receive(timeout: .seconds(10), wake: nil) { _ in } }
      }
      #expect(error?.isConnectionLoss == true)
    }
  }
}
