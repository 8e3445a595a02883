import Foundation
import TestSupport
import Testing

/// The Console in Debian's chromium: what `scripts/browser_tests.py` claims, each scenario a test.
///
/// Pictures go to `EXZO_ARTEFACTS`, default `.build/console-screenshots`.
@Suite(.serialized, .heavy) struct BrowserTests {
  @Test(.needsBrowser, .needsPostgres(), .needsFUSE) func theConsoleDoesWhatItPromises()
    async throws
  {
    try await withPlatform { platform in
      let shop = try await Shop(platform)
      for scenario in [
        "every_page", "speed", "timeline", "drawing", "editor", "live", "schedule", "attacks",
      ] {
        try shop.claim(scenario)
      }
      try await aDroppedTableIsBackWithinAMinute(platform, shop)
      try platform.psql(shop.uri, "DROP TABLE orders")
      try shop.claim("proofs")
      #expect(try platform.value(shop.uri, "SELECT count(*) FROM orders") == "1000")
      let second = try platform.call("POST", "/api_keys", #"{"key_name":"browser"}"#)
      try shop.claim(
        "revoked", key: second.string("key"),
        facts: ["key_id": second["id"] as? Int ?? 0, "admin_key": try platform.key])
      let (command, environment) = platform.command
      try shop.claim(
        "lost",
        facts: [
          "serve": Int(platform.serve?.processIdentifier ?? 0), "command": command,
          "environment": environment, "log": platform.logFile,
        ])
    }
  }

  /// By restoring in place, under the same connection string, and by a branch.
  private func aDroppedTableIsBackWithinAMinute(
    _ platform: Platform, _ shop: Shop
  ) async throws {
    let branched = try shop.claim(
      "dropped_table", facts: ["act": "Branch from here", "confirm": "Make branch"])
    try await platform.settle(shop.project)
    let branch = branched.split(separator: "\n").first { $0.hasPrefix("BRANCH ") }?.dropFirst(7)
    let answer = try platform.call(
      "GET",
      "/projects/\(shop.project)/connection_uri?branch_id=\(branch ?? "")&database_name=\(shop.database)&role_name=\(shop.role)"
    )
    #expect(try platform.value(answer.string("uri"), "SELECT count(*) FROM orders") == "1000")
    try shop.claim("dropped_table")
    try await platform.settle(shop.project)
    #expect(try platform.value(shop.uri, "SELECT count(*) FROM orders") == "1000")
    try shop.claim("restored")
  }
}

/// A project in which things went wrong, full of names with markup.
struct Shop {
  let platform: Platform
  let project: String
  let branch: String
  let uri: String
  let database: String
  let role: String
  /// Before orders was dropped.
  let lsn: String

  static let name = "shop <img src=x onerror=alert(1)>"

  init(_ platform: Platform) async throws {
    self.platform = platform
    let body = try JSONSerialization.data(withJSONObject: ["project": ["name": Self.name]])
    let created = try platform.call("POST", "/projects", String(decoding: body, as: UTF8.self))
    project = created.string("project.id")
    branch = created.string("branch.id")
    uri = created.string("connection_uris.0.connection_uri")
    database = created.string("databases.0.name")
    role = created.string("roles.0.name")
    try #require(!uri.isEmpty, "\(created.text)")
    try await platform.settle(project)
    try platform.psql(
      uri,
      """
      CREATE TABLE orders AS SELECT n AS id, 'order ' || n AS what FROM generate_series(1, 1000) n;
      ALTER TABLE orders ADD PRIMARY KEY (id);
      CREATE TABLE kept AS SELECT n AS id FROM generate_series(1, 100) n;
      CREATE TABLE emptied AS SELECT * FROM kept;
      CREATE TABLE thinned AS SELECT * FROM orders;
      CREATE TABLE "<script>alert(3)</script>" (n int);
      """)
    lsn = try platform.value(uri, "SELECT pg_current_wal_insert_lsn()")
    try platform.psql(uri, "DROP TABLE orders")
    try platform.psql(uri, "TRUNCATE emptied")
    try platform.psql(uri, "DELETE FROM thinned WHERE id <= 900")
    try platform.psql(uri, #"DROP TABLE "<script>alert(3)</script>""#)
    let child = #"{"branch":{"name":"<b onmouseover=alert(4)>child"},"endpoints":[]}"#
    #expect(try platform.call("POST", "/projects/\(project)/branches", child).status == 201)
    try await platform.settle(project)
  }

  /// Runs a scenario of the browser's; records each claim that does not hold.
  @discardableResult
  func claim(_ scenario: String, key: String? = nil, facts: [String: Any] = [:]) throws -> String {
    let known: [String: Any] = [
      "project": project, "branch": branch, "name": Self.name, "lsn": lsn, "branch_name": "main",
    ]
    let all = try JSONSerialization.data(withJSONObject: known.merging(facts) { $1 })
    let result = try run(
      [
        ConditionTrait.pythonOfTheBrowser,
        "\(FileManager.default.currentDirectoryPath)/scripts/browser_tests.py", scenario,
        platform.url(""), try key ?? platform.key, String(decoding: all, as: UTF8.self),
        Self.artefacts,
      ], allowFailure: true)
    let failures = result.output.split(separator: "\n").filter { $0.hasPrefix("FAIL ") }
    for failure in failures { Issue.record("\(scenario): \(failure.dropFirst(5))") }
    if failures.isEmpty, result.status != 0 {
      Issue.record("\(scenario): status \(result.status): \(result.errorOutput.suffix(2000))")
    }
    for line in result.output.split(separator: "\n") where line.hasPrefix("FIGURE ") { print(line) }
    return result.output
  }

  private static var artefacts: String {
    ProcessInfo.processInfo.environment["EXZO_ARTEFACTS"]
      ?? "\(FileManager.default.currentDirectoryPath)/.build/console-screenshots"
  }
}

extension Trait where Self == ConditionTrait {
  /// Chromium, its driver, and what `scripts/setup --browser` installs.
  static var needsBrowser: Self {
    let files = FileManager.default
    let isThere =
      files.isExecutableFile(atPath: "/usr/bin/chromedriver")
      && files.isExecutableFile(atPath: pythonOfTheBrowser)
    let isDemanded = ProcessInfo.processInfo.environment["EXZO_TEST_ALL"] == "1"
    return .enabled(
      if: isThere || isDemanded,
      "needs chromium, chromium-driver and selenium: scripts/setup --browser")
  }

  static var pythonOfTheBrowser: String {
    let home = ProcessInfo.processInfo.environment["HOME"] ?? "/root"
    return "\(home)/.cache/exzo/browser/bin/python"
  }
}
