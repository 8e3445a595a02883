import Foundation
import TestSupport
import Testing

/// Programs that do not lie in the build's folder.
@Suite(.serialized, .heavy) struct InstallationTests {
  /// A directory that holds `15/exzo_page_redo.so`, as the program under test finds it.
  private func extensions() throws -> String {
    let program = URL(fileURLWithPath: Platform.program).resolvingSymlinksInPath()
      .deletingLastPathComponent().path
    let places = [
      ProcessInfo.processInfo.environment["EXZO_EXTENSION_DIR"], "\(program)/../extensions",
      "\(program)/../../extensions",
    ]
    return try #require(
      places.compactMap(\.self).first {
        FileManager.default.fileExists(atPath: "\($0)/15/exzo_page_redo.so")
      })
  }

  /// The directory is told to serve; its agents are processes of their own.
  @Test(arguments: [true, false])
  func agentsLookForTheExtensionWhereServeWasTold(isTold: Bool) async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o755)
      let program = "\(directory)/exzo"
      try FileManager.default.copyItem(atPath: Platform.program, toPath: program)
      let environment = [
        "EXZO_EXTENSION_DIR": isTold ? try extensions() : "\(directory)/nothing-here"
      ]
      try await withPlatform(environment: environment, program: program) { platform in
        let scene = try await Scene(
          platform, name: "moved",
          sql: "CREATE TABLE t AS SELECT n, repeat('x', 100) FROM generate_series(1, 100000) n")
        let moment = try await scene.now()
        try platform.psql(scene.uri, "DELETE FROM t")
        let branch = try await scene.post(
          "/branches",
          #"{"branch":{"parent_timestamp":"\#(moment)"},"endpoints":[{"type":"read_write"}]}"#,
          status: 201)
        let uri = branch.string("connection_uris.0.connection_uri")
        #expect(try platform.value(uri, "SELECT count(*) FROM t") == "100000")
        let metrics = try platform.curl([platform.url("/metrics")]).output
        #expect(metrics.contains(#"exzo_openings_total{way="lazy"} 1"#) == isTold, "\(metrics)")
      }
    }
  }
}
