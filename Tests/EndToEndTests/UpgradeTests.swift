import Foundation
import TestSupport
import Testing

/// What earlier versions left behind, under this one: `scripts/make-upgrade-fixture` makes the fixtures.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct UpgradeTests {
  private static let directory =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().path + "/Fixtures/upgrade"

  /// Every version that there is a fixture of.
  static let versions: [String] = {
    // Without fixtures the test below says so.
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }()

  @Test func thereAreVersionsToComeFrom() { #expect(!Self.versions.isEmpty) }

  /// The binary was replaced: data directory, volumes, metadata and bucket are those of before.
  @Test(arguments: UpgradeTests.versions)
  func thisVersionGoesOnWhereAnEarlierOneStopped(version: String) async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let old = try OldInstallation(Self.directory, version, unpackedTo: "\(directory)/data")
      let metadata = try StockServer(in: "\(directory)/metadata-server")
      try metadata.start()
      let url = try old.loadMetadata(into: metadata)
      let platform = try Platform(
        directory: directory,
        arguments: [
          "--drill-every", "0", "--metadata-url", url, "--object-store",
          "file://\(directory)/data/objects",
        ])
      try await platform.start()
      do {
        try await old.check(on: platform)
        try platform.shutDown()
      } catch {
        print(platform.log.suffix(4000))
        try? platform.shutDown()  // the first error is the one to report
        throw error
      }
    }
  }

  /// The machine of the earlier version is gone: its bucket is all that there is.
  @Test(arguments: UpgradeTests.versions)
  func thisVersionRecoversFromTheBucketOfAnEarlierOne(version: String) async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let old = try OldInstallation(Self.directory, version, unpackedTo: "\(directory)/old")
      let platform = try Platform(
        directory: directory,
        arguments: [
          "--drill-every", "0", "--recover-from", "file://\(directory)/old/objects",
          "--master-key", "\(directory)/old/master-key",
        ])
      try await platform.start()
      do {
        #expect(platform.log.contains("Recovered: 2 accounts, 1 projects, 2 branches"))
        try await old.check(on: platform)
        try platform.shutDown()
      } catch {
        print(platform.log.suffix(4000))
        try? platform.shutDown()  // the first error is the one to report
        throw error
      }
    }
  }
}

/// An installation that an earlier version left, and what must be found in it.
private struct OldInstallation {
  let data: String
  let facts: [String: String]

  init(_ fixtures: String, _ version: String, unpackedTo data: String) throws {
    self.data = data
    let bytes = try Data(contentsOf: URL(fileURLWithPath: "\(fixtures)/\(version)/facts.json"))
    facts = try #require(try JSONSerialization.jsonObject(with: bytes) as? [String: String])
    try FileManager.default.createDirectory(
      atPath: data, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o711])
    try run([
      "tar", "--extract", "--xz", "--numeric-owner", "--same-owner", "--same-permissions",
      "--file", "\(fixtures)/\(version)/data.tar.xz", "--directory", data,
    ])
  }

  private subscript(_ fact: String) -> String { facts[fact] ?? "no fact '\(fact)'" }

  /// The dump of the old schema in a database of its own; returns where it is.
  func loadMetadata(into server: StockServer) throws -> String {
    try server.psql("CREATE ROLE exzo SUPERUSER LOGIN")
    try server.psql("CREATE DATABASE meta OWNER exzo")
    let url = "postgresql://exzo@/meta?host=\(server.directory)&port=\(server.port)"
    try run(
      [
        "/usr/lib/postgresql/15/bin/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-f",
        "\(data)/metadata.sql", url,
      ])
    return url
  }

  /// A connection string of then, at the address of now.
  private func uri(_ fact: String, _ platform: Platform) throws -> String {
    var parts = try #require(URLComponents(string: self[fact]))
    parts.port = platform.postgresPort
    return try #require(parts.string)
  }

  private static let sums =
    "SELECT count(*) || ' ' || md5(string_agg(o::text, ',' ORDER BY o.id)) FROM orders AS o"

  func check(on platform: Platform) async throws {
    try checkRecords(on: platform)
    // The strings, the passwords and the data of then.
    let main = try uri("uri", platform)
    #expect(try platform.value(main, "SELECT count(*) FROM kept") == "300")
    #expect(try platform.psql(main, "SELECT 1 FROM orders", allowFailure: true).status != 0)
    #expect(try platform.value(uri("dev_uri", platform), Self.sums) == self["dev_sums"])
    let reader = main.replacingOccurrences(
      of: "//[^@]*@", with: "//reader:\(self["reader"])@", options: .regularExpression)
    #expect(try platform.value(reader, "SELECT current_user") == "reader")
    // It is written to as ever, and what is written has a past.
    try platform.psql(main, "INSERT INTO kept VALUES (301)")
    try await checkPast(on: platform)
    try await checkBackups(on: platform)
    #expect(try platform.value(main, "SELECT max(id) FROM kept") == "301")
  }

  private func checkRecords(on platform: Platform) throws {
    let key = self["api_key"]
    let path = "/projects/\(self["project"])"
    let shown = try platform.call("GET", path, key: key)
    #expect(shown.string("project.name") == "kept and renamed", "\(shown.text)")
    #expect(shown["project.history_retention_seconds"] as? Int == 2_000_000_000)
    let theirs = try platform.call("GET", "/projects", key: self["other_key"])
    #expect(theirs.status == 200 && (theirs["projects"] as? [Any])?.isEmpty == true)
    let branch = "\(path)/branches/\(self["main"])"
    let schedule = try platform.call("GET", "\(branch)/backup_schedule", key: key)
    #expect(schedule.string("schedule.0.frequency") == "yearly", "\(schedule.text)")
    #expect(schedule.string("schedule.0.time_zone") == "Europe/Berlin")
    let estimate = try platform.call("GET", "\(path)/billing_estimate", key: key)
    #expect(estimate.string("plan") == "archive", "\(estimate.text)")
  }

  /// Moments by LSN and by time, as branches.
  private func checkPast(on platform: Platform) async throws {
    for (moment, sums) in [
      (#""parent_lsn":"\#(self["lsn"])""#, self["at_lsn"]),
      (#""parent_timestamp":"\#(self["moment"])""#, self["at_moment"]),
    ] {
      let branch = try platform.call(
        "POST", "/projects/\(self["project"])/branches",
        #"{"branch":{"parent_id":"\#(self["main"])",\#(moment)},"endpoints":[{"type":"read_write"}]}"#
      )
      #expect(branch.status == 201, "\(branch.text)")
      try await platform.settle(self["project"])
      let uri = branch.string("connection_uris.0.connection_uri")
      #expect(try platform.value(uri, Self.sums) == sums, "\(moment)")
    }
  }

  /// The snapshot restored, the dump restored.
  private func checkBackups(on platform: Platform) async throws {
    let path = "/projects/\(self["project"])"
    let restored = try platform.call(
      "POST", "\(path)/snapshots/\(self["snapshot"])/restore", #"{"name":"from-the-snapshot"}"#)
    #expect(restored.status < 300, "\(restored.text)")
    let endpoint = try platform.call(
      "POST", "\(path)/endpoints",
      #"{"endpoint":{"branch_id":"\#(restored.string("branch.id"))","type":"read_write"}}"#)
    #expect(endpoint.status == 201, "\(endpoint.text)")
    try await platform.settle(self["project"])
    let opened = try platform.exzo([
      "psql", "from-the-snapshot", "--project-id", self["project"], "--", "-AtXqc", Self.sums,
    ])
    #expect(opened.output == self["at_moment"] + "\n", "\(opened)")
    let dump = try platform.call(
      "POST", "\(path)/dumps/\(self["dump"])/restore",
      #"{"branch_id":"\#(self["main"])","database":"from_the_dump"}"#)
    #expect(dump.status < 300, "\(dump.text)")
    try await platform.settle(self["project"])
    let there = try uri("uri", platform).replacing("/exzodb?", with: "/from_the_dump?")
    #expect(try platform.value(there, Self.sums) == self["at_moment"])
  }
}
