import Foundation
import TestSupport
import Testing

/// The guides' commands, as they stand, in the order of the page.
@Suite(.serialized, .heavy) struct GuideTests {
  @Test(arguments: [
    "backups", "backup-by-hand", "point-in-time", "import", "move-elsewhere", "billing", "attach",
  ])
  func everyCommandOfTheGuideWorks(_ name: String) async throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().path
    let page = try String(contentsOfFile: "\(root)/docs/guides/\(name).md", encoding: .utf8)
    let script = Self.commands(of: page)
    try #require(script.contains("exzo "))
    try await withPlatform(arguments: AttachTests.opened) { platform in
      // The page about servers elsewhere makes another one.
      let project = try await Self.makeProject(platform)
      let elsewhere = try Self.makeServer(platform, for: page)
      let work = "\(platform.directory)/work"
      try FileManager.default.createDirectory(
        atPath: "\(work)/bin", withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: "\(work)/bin/exzo", withDestinationPath: Platform.program)
      let result = try run(
        ["bash", "-euo", "pipefail", "-c", "cd \(work)\nset -x\n\(script)"],
        environment: [
          "HOME": platform.directory,
          "PATH": "\(work)/bin:/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin",
          "EXZO_API_HOST": platform.url(""), "EXZO_API_KEY": try platform.key,
        ].merging(elsewhere.environment) { $1 }, allowFailure: true)
      #expect(result.status == 0, "\(result.output)\n\(result.errorOutput.suffix(3000))")
      try await platform.settle(project)
      withExtendedLifetime(elsewhere.server) {}
    }
  }

  private static let orders =
    "CREATE TABLE orders (id serial PRIMARY KEY, t text); "
    + "INSERT INTO orders (t) SELECT 'x' FROM generate_series(1, 100)"

  private static func makeProject(_ platform: Platform) async throws -> String {
    let created = try platform.call("POST", "/projects", #"{"project":{"name":"guide"}}"#)
    #expect(created.status == 201, "\(created.text)")
    try await platform.settle(created.string("project.id"))
    try platform.psql(created.string("connection_uris.0.connection_uri"), orders)
    try await Task.sleep(for: .milliseconds(100))
    return created.string("project.id")
  }

  /// The server that a page's `$SOURCE` or `$TARGET` means, and the variables.
  private static func makeServer(
    _ platform: Platform, for page: String
  ) throws -> (server: StockServer?, environment: [String: String]) {
    let isTarget = page.contains("`$TARGET`")
    guard isTarget || page.contains("`$SOURCE`") else { return (nil, [:]) }
    let server = try StockServer(
      in: "\(platform.directory)/elsewhere", tcpPort: try unusedPort())
    try server.start()
    try server.psql(
      "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'copy me'; CREATE DATABASE app")
    if !isTarget { try server.psql(orders, database: "app") }
    let user =
      page.contains("exzo attach") && !page.contains("exzo import") ? "replicator" : "postgres"
    let uri = "postgresql://\(user)@127.0.0.1:\(server.port)/app?sslmode=disable"
    return (server, [isTarget ? "TARGET" : "SOURCE": uri, "PGPASSWORD": "copy me"])
  }

  /// The contents of all blocks marked as shell.
  private static func commands(of page: String) -> String {
    page.components(separatedBy: "```sh\n").dropFirst().map {
      $0.components(separatedBy: "```")[0]
    }.joined()
  }
}
