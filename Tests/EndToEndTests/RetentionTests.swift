import Foundation
import TestSupport
import Testing

/// Retention on a real server whose clock is put ahead: what leaves the window goes, what is promised stays.
@Suite(.serialized, .heavy) struct RetentionTests {
  @Test func whatLeavesTheWindowGoesAndWhatIsPromisedStays() async throws {
    try await withPlatform(
      arguments: ["--encryption", "off", "--collect-history", "on", "--drill-every", "0"]
    ) { platform in
      let scene = try await Scene(platform, name: "past")
      try platform.psql(scene.uri, "CREATE TABLE t (id int, x text)")
      try scene.load(1000)
      let early = try await scene.now()
      let unopened = try await scene.branch(
        "unopened", at: #""parent_timestamp":"\#(early)""#, endpoint: false)
      #expect(unopened.status == 201, "\(unopened.text)")
      let opened = try await scene.branch("opened", at: #""parent_timestamp":"\#(early)""#)
      let snapshot = try await scene.post(
        "/branches/\(scene.main)/snapshot?name=first&timestamp=\(early)")
      #expect(snapshot.status == 200, "\(snapshot.text)")
      try scene.load(500)
      // Some 100 MB of WAL over few blocks: much more than the complete keyframe that takes its place.
      // Openings write whole segments of 16 MiB, so less than some of them would not be seen to go.
      for _ in 0..<30 { try scene.rewrite() }
      let late = try await scene.now()
      let path = "/projects/\(scene.project)/branches/\(scene.main)"

      // Six days: all of it is still there.
      try await scene.travel(hours: 144)
      // The compute's agent may not have been found again yet.
      for _ in 0..<100 {
        if try platform.call("GET", path)["branch.restore_window.earliest_lsn"] != nil { break }
        try await Task.sleep(for: .milliseconds(100))
      }
      #expect(try platform.call("GET", path)["branch.restore_window.earliest_lsn"] != nil)
      // Not opened yet: a compute that is never suspended holds the WAL below its branch point.
      let child = try await scene.branch(
        "child", at: #""parent_timestamp":"\#(late)""#, endpoint: false)
      #expect(child.status == 201, "\(child.text)")

      // Eight days: the window has passed over it. Withdrawn keyframes stay for another hour, and the
      // computes make new ones meanwhile.
      try await scene.travel(hours: 192)
      var freed = try scene.collected()["bytesFreed"] as? Int ?? 0
      var (stored, kept) = (Int.max, 1)
      for hours in stride(from: 194.0, through: 204, by: 2) where stored > kept + kept / 7 {
        try await scene.travel(hours: hours)
        let status = try scene.collected()
        freed += status["bytesFreed"] as? Int ?? 0
        kept = try #require(status["keptBytes"] as? Int)
        stored = try scene.storedBytes()
      }
      print("RESULT retention: \(freed) bytes freed, \(stored) kept, needed \(kept)")
      #expect(Double(stored) <= 1.15 * Double(kept))
      #expect(freed > 30_000_000)
      let refused = try await scene.branch("gone", at: #""parent_timestamp":"\#(early)""#)
      #expect(refused.status >= 400 && refused.status < 500, "\(refused.text)")
      try await expectWindowIsTrue(scene, path)
      #expect(try scene.collected()["failure"] == nil)

      #expect(try scene.count(scene.uri) == "1500")
      #expect(try scene.count(try await scene.uri(of: unopened.string("branch.id"))) == "1000")
      #expect(try scene.count(opened.string("connection_uris.0.connection_uri")) == "1000")
      #expect(try scene.count(try await scene.uri(of: child.string("branch.id"))) == "1500")
      let look = try await scene.post(
        "/snapshots/\(snapshot.string("snapshot.id"))/restore", #"{"name":"look"}"#)
      #expect(look.status == 200, "\(look.text)")
      #expect(try scene.count(try await scene.uri(of: look.string("branch.id"))) == "1000")
    }
  }

  private static let times = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

  /// Both ends of a branch's window open.
  private func expectWindowIsTrue(_ scene: Scene, _ path: String) async throws {
    let window = try scene.platform.call("GET", path)
    for (name, field, end) in [
      ("a", "parent_lsn", "earliest_lsn"), ("b", "parent_timestamp", "earliest_timestamp"),
      ("c", "parent_lsn", "latest_lsn"),
    ] {
      var value = window.string("branch.restore_window.\(end)")
      if end == "earliest_timestamp" {
        // The window moves on while the test asks.
        value = try Date(value, strategy: Self.times).addingTimeInterval(60).formatted(Self.times)
      }
      let made = try await scene.branch(name, at: #""\#(field)":"\#(value)""#)
      #expect(made.status == 201, "\(end): \(made.text)")
      #expect(try scene.count(made.string("connection_uris.0.connection_uri")) == "1500")
    }
  }

  @Test func aShrinkingStartsAfterAnHourAndCanBeCancelled() async throws {
    try await withPlatform(arguments: ["--collect-history", "on"]) { platform in
      let scene = try await Scene(platform, name: "past")
      try platform.psql(scene.uri, "CREATE TABLE t (id int, x text)")
      try scene.load(100)
      let early = try await scene.now()
      try scene.load(100)
      let path = "/projects/\(scene.project)/retention"
      let day = #"{"history_retention_seconds":86400"#
      try await scene.travel(hours: 48)
      #expect(try platform.call("PUT", path, day + "}").status == 412)
      let asked = try platform.call("PUT", path, day + #","confirm":true}"#)
      #expect(asked.status == 200, "\(asked.text)")

      try await scene.travel(hours: 48.5)
      let first = try await scene.branch("first", at: #""parent_timestamp":"\#(early)""#)
      #expect(first.status == 201, "\(first.text)")
      let cancelled = try platform.call("DELETE", path + "/pending")
      #expect(cancelled.status == 200, "\(cancelled.text)")
      try await scene.travel(hours: 52)
      let second = try await scene.branch("second", at: #""parent_timestamp":"\#(early)""#)
      #expect(second.status == 201, "\(second.text)")
      #expect(try scene.count(second.string("connection_uris.0.connection_uri")) == "100")

      #expect(try platform.call("PUT", path, day + #","confirm":true}"#).status == 200)
      try await scene.travel(hours: 53.1)
      let third = try await scene.branch("third", at: #""parent_timestamp":"\#(early)""#)
      #expect(third.status >= 400 && third.status < 500, "\(third.text)")
      #expect(try scene.count(first.string("connection_uris.0.connection_uri")) == "100")
      #expect(try scene.count(scene.uri) == "200")
    }
  }

  /// With a data directory whose clock nobody has watched, as an earlier version or another machine left it.
  @Test func nothingEndsByAClockThatNobodyHasWatched() async throws {
    try await withPlatform(
      arguments: ["--encryption", "off", "--collect-history", "on", "--drill-every", "0"]
    ) { platform in
      let scene = try await Scene(platform, name: "unwatched")
      let memory = "\(platform.directory)/data/collector-memory.json"
      for _ in 0..<600 where !FileManager.default.fileExists(atPath: memory) {
        try await Task.sleep(for: .milliseconds(100))
      }
      let known = try Data(contentsOf: URL(fileURLWithPath: memory))
      let end = ISO8601DateFormatter().string(from: Date().addingTimeInterval(3600))
      _ = try await scene.post("/branches/\(scene.main)/snapshot?name=short&expires_at=\(end)")
      func snapshots() throws -> Int? {
        let answer = try platform.call("GET", "/projects/\(scene.project)/snapshots")
        return (answer["snapshots"] as? [Any])?.count
      }
      #expect(try snapshots() == 1)

      try FileManager.default.removeItem(atPath: memory)
      try await scene.travel(hours: 2)
      let failure = try #require(try scene.collected()["failure"] as? String)
      #expect(failure.contains("has not been watched yet"))
      // Housekeeping's first round does everything.
      try await Task.sleep(for: .seconds(3))
      #expect(try snapshots() == 1)

      try known.write(to: URL(fileURLWithPath: memory))
      try await scene.travel(hours: 2)
      for _ in 0..<200 {
        if try snapshots() == 0 { break }
        try await Task.sleep(for: .milliseconds(100))
      }
      #expect(try snapshots() == 0)
    }
  }
}

extension Scene {
  fileprivate func branch(_ name: String, at moment: String, endpoint: Bool = true) async throws
    -> Platform.Answer
  {
    let endpoints = endpoint ? #","endpoints":[{"type":"read_write"}]"# : ""
    return try await post(
      "/branches", #"{"branch":{"name":"\#(name)",\#(moment)}\#(endpoints)}"#, status: nil)
  }

  fileprivate func count(_ uri: String) throws -> String {
    try platform.psql(uri, "SELECT count(*) FROM t").output.trimmingCharacters(in: .newlines)
  }

  /// Opens a branch that nobody has opened yet.
  fileprivate func uri(of branch: String) async throws -> String {
    _ = try await post(
      "/endpoints", #"{"endpoint":{"branch_id":"\#(branch)","type":"read_write"}}"#,
      status: 201)
    return try platform.call(
      "GET",
      "/projects/\(project)/connection_uri?branch_id=\(branch)&database_name=exzodb"
        + "&role_name=exzodb_owner"
    ).string("uri")
  }

  /// Starts serve anew with its clock ahead, and waits for a whole round of its collector.
  fileprivate func travel(hours: Double) async throws {
    try platform.kill()
    platform.environment["EXZO_CLOCK_AHEAD"] = "\(Int(hours * 3600))"
    let file = "\(platform.directory)/data/collector.json"
    try? FileManager.default.removeItem(atPath: file)  // there is none before the first round
    try await platform.start()
    for _ in 0..<600 {
      if FileManager.default.fileExists(atPath: file) { return }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw CommandFailure(description: "no round of the collector:\n\(platform.log.suffix(2000))")
  }

  /// What the collector said after its last round.
  fileprivate func collected() throws -> [String: Any] {
    let bytes = try Data(
      contentsOf: URL(fileURLWithPath: "\(platform.directory)/data/collector.json"))
    return try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: Any])
  }

  /// Bytes of WAL and layers in the store.
  fileprivate func storedBytes() throws -> Int {
    try run([
      "sh", "-c",
      "find '\(platform.directory)/data/objects' -type f '(' -path '*/wal/*' -o -path '*/layers/*' ')' "
        + "-printf '%s\\n' | awk '{ s += $1 } END { print s + 0 }'",
    ]).output.split(separator: "\n").first.flatMap { Int($0) } ?? 0
  }

  /// Gives every row a new content.
  fileprivate func rewrite() throws {
    try platform.psql(
      uri,
      """
      UPDATE t SET x = (SELECT string_agg(md5(random()::text || id || j), '')
      FROM generate_series(1, 60) j);
      VACUUM t
      """)
  }

  fileprivate func load(_ rows: Int) throws {
    // Incompressible, so that what goes is seen.
    try platform.psql(
      uri,
      """
      INSERT INTO t SELECT i, (SELECT string_agg(md5(random()::text || i || j), '')
      FROM generate_series(1, 60) j) FROM generate_series(1, \(rows)) i
      """)
  }
}
