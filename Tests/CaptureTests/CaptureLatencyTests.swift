import Capture
import Foundation
import History
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

@Suite(.serialized) struct CaptureLatencyTests {
  /// Seconds of load; more in a measurement than in a test run.
  static let seconds = ProcessInfo.processInfo.environment["EXZO_CAPTURE_SECONDS"] ?? "5"

  @Test func commitsAreInTheStoreWithinASecond() async throws {
    try await Scene.run { scene in
      try scene.server.pgbench(["-i", "-s", "5", "-q"])
      let capture = try await scene.startCapture()
      _ = try await capture.flush(to: try scene.flushedLSN(), timeout: .seconds(30))
      let load = Task.detached {
        try scene.server.pgbench(["-c", "4", "-T", Self.seconds, "-n"])
      }
      let cpu = cpuSeconds()
      let start = capture.positions.uploadedLSN
      let pool = PostgresConnectionPool(scene.parameters, size: 1)
      var latencies: [Duration] = []
      let deadline = ContinuousClock.now + .seconds(Int(Self.seconds) ?? 5)
      while ContinuousClock.now < deadline {
        let lsn = try await pool.withConnection {
          try $0.query("UPDATE pgbench_branches SET filler = 'x' WHERE bid = 1")
          return try $0.query("SELECT pg_current_wal_insert_lsn() AS l").rows[0]
            .value("l", as: LSN.self)
        }
        let committed = ContinuousClock.now
        // Watched, not flushed: a flush would upload at once.
        while capture.positions.uploadedLSN < lsn { try await Task.sleep(for: .milliseconds(2)) }
        latencies.append(ContinuousClock.now - committed)
      }
      _ = try await load.value
      let end = try scene.flushedLSN()
      _ = try await capture.flush(to: end, timeout: .seconds(30))
      latencies.sort()
      let p99 = latencies[latencies.count * 99 / 100]
      let megabytes = Double(end - start) / 1e6
      print(
        "commit to store: p50 \(latencies[latencies.count / 2]), p99 \(p99), n \(latencies.count);",
        "\(megabytes) MB of WAL, \((cpuSeconds() - cpu) / megabytes) CPU s/MB (test included),",
        "peak memory \(peakMemory()) MB")
      #expect(p99 < .seconds(1))
      #expect(try await scene.storeEqualsServer(upTo: end))
      await pool.close()
      try await capture.stop()
    }
  }

  /// CPU of capture alone: WAL that lies ready is streamed, verified, spooled and uploaded.
  @Test func captureOfReadyWALCostsLittle() async throws {
    try await Scene.run(settings: ["full_page_writes=off", "wal_keep_size=4GB"]) { scene in
      let scale = ProcessInfo.processInfo.environment["EXZO_CAPTURE_SCALE"] ?? "3"
      try scene.server.pgbench(["-i", "-s", scale, "-q"])
      try scene.server.pgbench(["-c", "4", "-T", Self.seconds, "-n"])
      let end = try scene.flushedLSN()
      let start = await scene.lineStart()
      let cpu = cpuSeconds()
      let began = ContinuousClock.now
      let capture = try await scene.startCapture()
      _ = try await capture.flush(to: end, timeout: .seconds(120))
      let took = (ContinuousClock.now - began) / .seconds(1)
      let megabytes = Double(end - start) / 1e6
      print(
        "\(megabytes) MB of ready WAL: \(megabytes / took) MB/s,",
        "\((cpuSeconds() - cpu) / megabytes * 1000) CPU ms/MB, peak memory \(peakMemory()) MB")
      #expect(try await scene.storeEqualsServer(upTo: end))
      try await capture.stop()
    }
  }
}

/// User and system time of this process.
func cpuSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(0), &usage)
  return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}

/// Megabytes.
func peakMemory() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(0), &usage)
  return usage.ru_maxrss / 1024
}
