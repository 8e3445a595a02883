import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// A disk with no room left: what was acknowledged stays, what cannot be written is refused, and
/// all goes on by itself when there is room.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct FullDiskTests {
  @Test func aFullDiskRefusesWritesAndIsForgottenWhenThereIsRoom() async throws {
    try await withSmallDisk { try await fill($0) }
  }

  /// The kernel takes its writes although there is no room for them.
  @Test func aSortThatFindsNoRoomDisturbsNobodyElse() async throws {
    try await withSmallDisk { disk in
      let engine = try await Engine(in: disk)
      let root = try await engine.openRoot {
        $0.settings.extra = ["autovacuum": "off", "work_mem": "64kB"]
      }
      try engine.psql(root, "CREATE TABLE t (n int)")
      try await engine.keyframe(root)
      let server = try #require(await engine.fleet.client(line: root).status()).serverPID
      let ballast = "\(disk)/ballast"
      try takeAllRoom(on: disk, by: ballast)
      let sort = """
        SELECT count(*), max(f) FROM (SELECT repeat(md5(g::text), 20) AS f
          FROM generate_series(1, 200000) AS g ORDER BY f OFFSET 0) AS q
        """
      let refused = try? engine.psql(root, sort)  // an error is one of the two right answers
      let after = try #require(await engine.fleet.client(line: root).status()).serverPID
      #expect(after == server, "the server was ended")
      #expect(try engine.psql(root, "SELECT count(*) FROM t") == "0")
      try FileManager.default.removeItem(atPath: ballast)
      let answer = try engine.psql(root, sort)
      #expect(answer.hasPrefix("200000|"))
      if let refused { #expect(refused == answer) }
      try await engine.fleet.suspendAll()
    }
  }

  private func withSmallDisk(_ body: (String) async throws -> Void) async throws {
    try await withTemporaryDirectory { directory in
      try await TestSupport.withSmallDisk(in: directory, size: "1g", body)
    }
  }

  private func fill(_ disk: String) async throws {
    let engine = try await Engine(in: disk)
    let root = try await engine.openRoot()
    try engine.psql(root, "CREATE TABLE t (n int PRIMARY KEY, b text)")
    let ballast = "\(disk)/ballast"
    try takeAllRoom(on: disk, by: ballast)
    let (rows, refusal) = try insertUntilRefused(engine, root)
    #expect(
      refusal.contains("No space left on device") || refusal.contains("connection"),
      "refused with: \(refusal)")
    #expect(engine.logs(root).contains("No space left on device"))
    // Full for a while: nothing gives up for good.
    try await Task.sleep(for: .seconds(3))
    let status = try #require(await engine.fleet.client(line: root).status(), "the agent is gone")
    #expect(status.phase == .running)
    try FileManager.default.removeItem(atPath: ballast)
    try await waitForWrites(engine, root)
    let there = try engine.psql(root, "SELECT count(*), max(n) FROM t WHERE n > 0")
    #expect(there == "\(rows)|\(rows)" || there == "\(rows + 500)|\(rows + 500)")
    #expect(try AmCheck.failures(on: engine.connection(root)) == [])
    try await engine.keyframe(root)
    try await engine.withBranch(of: root, at: try await engine.head(root)) { branch, _ in
      let found = try engine.psql(branch, "SELECT count(*), max(n) FROM t WHERE n > 0")
      #expect(found == there)
    }
    try await engine.fleet.suspendAll()
  }

  private func takeAllRoom(on disk: String, by ballast: String) throws {
    var status = statvfs()
    try #require(statvfs(disk, &status) == 0)
    let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
    // What is left fills up with the first inserts.
    try run(["fallocate", "-l", "\(free - 8 << 20)", ballast])
  }

  /// Rows acknowledged, and how the first failure put it.
  private func insertUntilRefused(_ engine: Engine, _ line: String) throws -> (Int, String) {
    var rows = 0
    while rows < 1_000_000 {
      do {
        try engine.psql(
          line,
          """
          INSERT INTO t SELECT n, repeat(md5(n::text), 20)
            FROM generate_series(\(rows + 1), \(rows + 500)) AS n
          """)
        rows += 500
      } catch { return (rows, "\(error)") }
    }
    throw CommandFailure(description: "fill the disk: a million rows were taken")
  }

  private func waitForWrites(_ engine: Engine, _ line: String) async throws {
    var last = ""
    for _ in 0..<300 {
      do {
        try engine.psql(line, "INSERT INTO t VALUES (0, 'again') ON CONFLICT DO NOTHING")
        return
      } catch { last = "\(error)" }
      try await Task.sleep(for: .milliseconds(200))
    }
    throw CommandFailure(
      description: "write after there is room again: \(last)\n\(engine.logs(line).suffix(4000))")
  }
}
