import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// A package's update replaces the server's binaries under a compute.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct MinorUpgradeTests {
  /// The same server under another minor version of the same length: its version strings are changed.
  private func program(_ engine: Engine, calling version: String) throws -> Data {
    let real = Array(engine.template.serverVersion.utf8)
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: engine.installation.server)))
    var index = 0
    var count = 0
    while index + real.count <= bytes.count {
      if bytes[index] == real[0], bytes[index..<index + real.count].elementsEqual(real) {
        bytes.replaceSubrange(index..<index + real.count, with: version.utf8)
        (index, count) = (index + real.count, count + 1)
      } else {
        index += 1
      }
    }
    #expect(count > 0)
    return Data(bytes)
  }

  private func newest(_ engine: Engine, _ line: String) async throws -> String? {
    try await engine.history(line).keyframes.last?.postgresVersion
  }

  @Test func itTakesEffectWithTheNextStartAndHistoryGoesOn() async throws {
    try await withEngine { engine in
      let files = FileManager.default
      // Not in a directory 'bin', from which the server would look for its libraries ('make_relative_path').
      let binaries = "\(engine.directory)/programs"
      try files.createDirectory(atPath: binaries, withIntermediateDirectories: true)
      for name in try files.contentsOfDirectory(atPath: engine.installation.binaries) {
        try files.createSymbolicLink(
          atPath: "\(binaries)/\(name)",
          withDestinationPath: "\(engine.installation.binaries)/\(name)")
      }
      let present = engine.template.serverVersion
      let parts = present.split(separator: ".")
      let next = "\(parts[0]).\(String(repeating: "9", count: parts[1].count))"
      let root = try await engine.openRoot { $0.binaries = binaries }
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; CHECKPOINT")
      try await engine.keyframe(root)
      #expect(try await newest(engine, root) == present)
      let before = try await engine.head(root)

      // The server that runs goes on as it is.
      try files.removeItem(atPath: "\(binaries)/postgres")
      try program(engine, calling: next).write(to: URL(fileURLWithPath: "\(binaries)/postgres"))
      chmod("\(binaries)/postgres", 0o755)
      try engine.psql(root, "INSERT INTO t VALUES (1001)")
      #expect(try engine.psql(root, "SHOW server_version").hasPrefix(present))

      try await engine.fleet.suspend(line: root)
      try await engine.wake(root)
      #expect(try engine.psql(root, "SHOW server_version").hasPrefix(next))
      try engine.psql(root, "INSERT INTO t VALUES (1002); CHECKPOINT")
      try await engine.keyframe(root)
      #expect(try await newest(engine, root) == next)

      // Moments from before and after open, with and without replay.
      let after = try await engine.head(root)
      for (moment, rows) in [(before, "1000"), (after, "1002")] {
        for way in [OpeningWay.lazy, .replay] {
          let (branch, _) = try await engine.open(root, at: moment) {
            $0.opening = way
            $0.binaries = binaries
          }
          #expect(try engine.psql(branch, "SELECT count(*) FROM t") == rows)
          #expect(try engine.psql(branch, "SHOW server_version").hasPrefix(next))
          try await engine.fleet.destroy(line: branch)
        }
      }
    }
  }
}
