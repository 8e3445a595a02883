import Foundation
import History
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// What reads of a lazily opened moment cost; run with `EXZO_MEASURE=1`.
@Suite(
  .serialized, .heavy, .enabled(if: ProcessInfo.processInfo.environment["EXZO_MEASURE"] == "1"))
struct LazyMeasurements {
  /// One page with as many records as 30 s of TPC-B give it, with and without an image of its own.
  @Test func hotPage() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot {
        $0.restoreObjective = 1000
        $0.completeLayers = .never
      }
      try engine.pgbench(root, ["-i", "-q", "-s", "1"])
      let begin = try await engine.fleet.client(line: root).head()
      let report = try engine.pgbench(root, ["-c", "4", "-j", "2", "-T", "30", "-n"])
      print(report.split(separator: "\n").filter { $0.contains("tps") || $0.contains("processed") })
      let moment = try await engine.fleet.client(line: root).head()
      print("WAL \((moment - begin) >> 20) MiB")
      try await read(engine, root, moment, "without an image")
      _ = try await engine.fleet.client(line: root).ask(.keyframe, timeout: 60)
      try engine.psql(root, "CREATE TABLE further AS SELECT generate_series(1, 20000)")
      let later = try await engine.fleet.client(line: root).head()
      let keyframe = try await engine.keyframe(of: root, at: later)
      print("partial layer: \(keyframe.partial?.blockCount ?? 0) blocks")
      try await read(engine, root, later, "with an image")
    }
  }

  private func read(
    _ engine: Engine, _ root: String, _ moment: LSN, _ what: String
  ) async throws {
    let (prepared, _) = try await OpenedMoment.prepare(engine, root, at: moment, .lazy)
    for name in ["pgbench_tellers", "pgbench_branches", "pgbench_history"] {
      let path = try engine.psql(root, "SELECT pg_relation_filepath('\(name)')")
      let clock = ContinuousClock.now
      _ = try await onThread {
        var page = [UInt8](repeating: 0, count: blockSize)
        try page.withUnsafeMutableBytes {
          _ = try prepared.volume.read(prepared.volume.find(path).id, at: 0, into: $0)
        }
      }
      print(
        "\(what): first page of \(name) \(Int((ContinuousClock.now - clock).seconds * 1000)) ms")
    }
    let clock = ContinuousClock.now
    try await onThread { try prepared.lazy?.makeAhead() }
    let made = prepared.lazy?.made.load(ordering: .relaxed) ?? 0
    print("\(what): \(made) pages ahead \(Int((ContinuousClock.now - clock).seconds * 1000)) ms")
    prepared.lazy?.close()
    try prepared.volume.close()
  }
}
