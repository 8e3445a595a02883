import CCRC32C
import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import Capture

@Suite struct SpoolFaultTests {
  @Test func oneFailedDiskCallAfterAnotherIsGotOver() async throws {
    try await Scene.run { scene in
      try scene.server.psql("CREATE TABLE t (i int)")
      var call = 1
      while call < 32 {
        let disk = SimulatedFileSystem()
        disk.failCall(call)
        try scene.server.psql("INSERT INTO t SELECT generate_series(1, 2000)")
        let end = try scene.flushedLSN()
        var configuration = scene.configuration(fileSystem: disk)
        configuration.batchInterval = .milliseconds(1)
        configuration.retryPause = .milliseconds(1) ... .milliseconds(5)
        let capture = try await opened(configuration)
        capture.start()
        #expect(try await capture.flush(to: end, timeout: .seconds(30)) >= end, "call \(call)")
        try await capture.stop()
        if disk.callCount < call { break }
        call += 1
      }
      #expect(call > 15)
      #expect(try await scene.storeEqualsServer(upTo: scene.line.uploadedLSN))
    }
  }

  /// Opens a capture, again where the failing call was one of opening.
  private func opened(_ configuration: CaptureConfiguration) async throws -> WALCapture {
    do { return try await WALCapture.open(configuration) } catch is FileError {
      return try await WALCapture.open(configuration)
    }
  }

  @Test func whatWasCalledFlushedSurvivesAPowerCut() async throws {
    try await Scene.run { scene in
      try scene.server.psql("CREATE TABLE t (i int)")
      for round in 1...12 {
        let disk = SimulatedFileSystem()
        scene.store.isAway = true
        var configuration = scene.configuration(fileSystem: disk)
        configuration.batchInterval = .milliseconds(1)
        let capture = try await WALCapture.open(configuration)
        disk.losePower(atSync: round)
        capture.start()
        var claimed = capture.positions.flushedLSN
        while !disk.hasLostPower {
          try scene.server.psql("INSERT INTO t SELECT generate_series(1, 500)")
          let end = try scene.flushedLSN()
          while capture.positions.flushedLSN < end, !disk.hasLostPower {
            try await Task.sleep(for: .milliseconds(1))
          }
          // What is said after the power went was heard by nobody.
          let isFlushed = capture.positions.flushedLSN >= end
          if isFlushed, !disk.hasLostPower { claimed = end }
        }
        try await capture.stop()
        scene.store.isAway = false
        configuration.fileSystem = disk.restarted(seed: UInt64(round))
        let again = try await WALCapture.open(configuration)
        #expect(again.positions.receivedLSN >= claimed, "round \(round)")
        again.start()
        let end = try scene.flushedLSN()
        #expect(try await again.flush(to: end, timeout: .seconds(30)) >= end)
        try await again.stop()
        #expect(try await scene.storeEqualsServer(upTo: end), "round \(round)")
      }
    }
  }

  /// The example of docs/formats/wal-spool.md.
  @Test func theDocumentedHeaderIsRead() throws {
    let hex = """
      45 58 5a 4f 53 50 4f 4c 01 00 00 00 00 00 00 01
      01 00 99 3c 60 48 2b 65 00 00 00 01 00 00 00 00
      6c 6e 2d 30 31 32 33 34 35 36 37 38 39 61 62 63
      64 65 66 00 00 00 00 00 00 00 00 00 dc c5 35 ae
      """
    var bytes = hex.split { $0 == " " || $0 == "\n" }.compactMap { UInt8($0, radix: 16) }
    let header = try SpoolHeader(bytes: bytes, path: "/spool")
    #expect(header.line == LineID(rawValue: "ln-0123456789abcdef"))
    #expect(header.systemIdentifier == 7_290_000_000_000_000_001)
    #expect(header.segmentSize == 16 << 20)
    #expect(header.startLSN == LSN(0x100_0000))
    #expect(header.encoded == bytes)
    for index in bytes.indices {
      bytes[index] ^= 0x10
      let error = #expect(throws: CaptureError.self) {
        try SpoolHeader(bytes: bytes, path: "/spool")
      }
      #expect(error?.code == .spoolFormat)
      bytes[index] ^= 0x10
    }
    #expect(throws: CaptureError.self) { try SpoolHeader(bytes: [], path: "/spool") }
    bytes[8] = 2
    let sum = exzo_crc32c(0, bytes, 60)
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: sum, toByteOffset: 60, as: UInt32.self) }
    let later = #expect(throws: CaptureError.self) { try SpoolHeader(bytes: bytes, path: "/spool") }
    #expect("\(later as Any)".contains("version 2, made by a later version of Exzo"))
  }

  @Test func aTimelineHistoryTellsWhichTimelineHoldsAPosition() {
    let text = "# comment\n1\t0/3000000\tno recovery target specified\n2\t0/5000000\tbefore x\n"
    let history = TimelineHistory(bytes: Array(text.utf8))
    let latest = TimelineID(3)
    #expect(history.timeline(at: LSN(0x2FF_FFFF), latest: latest) == TimelineID(1))
    #expect(history.timeline(at: LSN(0x300_0000), latest: latest) == TimelineID(2))
    #expect(history.timeline(at: LSN(0x500_0000), latest: latest) == latest)
    #expect(TimelineHistory(bytes: [0xFF, 0, 9, 10]).ends.isEmpty)
  }

  @Test func aServerThatIsPromotedIsFollowedToItsTimeline() async throws {
    try await Scene.run { scene in
      let capture = try await scene.startCapture()
      let log = EventLog(capture)
      try scene.server.psql("CREATE TABLE t (i int)")
      _ = try await capture.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
      try Self.startAsStandby(scene)
      try scene.server.psql("SELECT pg_promote()")
      try scene.server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
      let end = try scene.flushedLSN()
      #expect(try await capture.flush(to: end, timeout: .seconds(60)) >= end)
      _ = try await log.first {
        if case .timelineSwitched(TimelineID(2), _) = $0 { true } else { false }
      }
      let stored = try await scene.storedWAL(scene.lineStart(), end)
      #expect(try stored == scene.serverWAL(await scene.lineStart(), end, timeline: 2))
      try await capture.stop()
    }
  }

  /// Whoever must not follow there refuses on the stream's own connection: nothing can happen in between.
  @Test(arguments: [true, false])
  func aTimelineThatIsRefusedIsNotTaken(isPromotedWhileItStreams: Bool) async throws {
    try await Scene.run { scene in
      try scene.server.psql("CREATE TABLE t (i int)")
      let wanted = try scene.flushedLSN()
      try Self.startAsStandby(scene)
      if !isPromotedWhileItStreams { try scene.server.psql("SELECT pg_promote()") }
      var configuration = scene.configuration(durability: .following)
      configuration.accept = { system in
        if system.timeline != TimelineID(1) { throw Refused() }
      }
      let capture = try await scene.startCapture(configuration)
      let log = EventLog(capture)
      if isPromotedWhileItStreams {
        #expect(try await capture.flush(to: wanted, timeout: .seconds(30)) >= wanted)
        try scene.server.psql("SELECT pg_promote()")
      }
      let end = try scene.flushedLSN()
      try scene.server.psql("INSERT INTO t SELECT generate_series(1, 1000)")
      _ = try await log.first {
        if case .disconnected(is Refused) = $0 { true } else { false }
      }
      #expect(capture.positions.receivedLSN <= end)
      #expect(!capture.positions.isStreaming)
      try await capture.stop()
    }
  }

  private struct Refused: Error {}

  private static func startAsStandby(_ scene: Scene) throws {
    try scene.server.stop(mode: "fast")
    try run(["touch", "\(scene.server.dataDirectory)/standby.signal"], asPostgresUser: true)
    try scene.server.start()
  }
}
