import Foundation
import TestSupport
import Testing

/// The guides' commands, as they stand, in the order of the page.
@Suite(.serialized, .heavy) struct GuideTests {
  @Test(arguments: ["backups", "backup-by-hand"])
  func everyCommandOfTheGuideWorks(_ name: String) async throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().path
    let page = try String(contentsOfFile: "\(root)/docs/guides/\(name).md", encoding: .utf8)
    let script = Self.commands(of: page)
    try #require(script.contains("exzo "))
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"guide"}}"#)
      #expect(created.status == 201, "\(created.text)")
      try await platform.settle(created.string("project.id"))
      try platform.psql(
        created.string("connection_uris.0.connection_uri"),
        "CREATE TABLE orders (id serial PRIMARY KEY, t text); "
          + "INSERT INTO orders (t) SELECT 'x' FROM generate_series(1, 100)")
      try await Task.sleep(for: .milliseconds(100))
      let work = "\(platform.directory)/work"
      try FileManager.default.createDirectory(
        atPath: "\(work)/bin", withIntermediateDirectories: true)
      try FileManager.default.createSymbolicLink(
        atPath: "\(work)/bin/exzo", withDestinationPath: Platform.program)
      let result = try run(
        ["bash", "-euc", "cd \(work)\nset -x\n\(script)"],
        environment: [
          "HOME": platform.directory,
          "PATH": "\(work)/bin:/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin",
          "EXZO_API_HOST": platform.url(""), "EXZO_API_KEY": try platform.key,
        ], allowFailure: true)
      #expect(result.status == 0, "\(result.output)\n\(result.errorOutput.suffix(3000))")
      try await platform.settle(created.string("project.id"))
    }
  }

  /// The contents of all blocks marked as shell.
  private static func commands(of page: String) -> String {
    page.components(separatedBy: "```sh\n").dropFirst().map {
      $0.components(separatedBy: "```")[0]
    }.joined()
  }
}
