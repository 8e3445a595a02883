import Foundation
import TestSupport
import Testing

/// Metadata in a server that somebody else runs (`--metadata-url`).
@Suite(.serialized, .heavy) struct MetadataTests {
  @Test func metadataLiesInTheServerThatIsNamed() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let server = try StockServer(in: "\(directory)/elsewhere")
      try server.start()
      try server.psql("CREATE ROLE keeper LOGIN; CREATE DATABASE meta OWNER keeper")
      let url = "postgresql://keeper@/meta?host=\(server.directory)&port=\(server.port)"
      try await withPlatform(arguments: ["--metadata-url", url]) { platform in
        let created = try platform.call("POST", "/projects", #"{"project":{"name":"away"}}"#)
        #expect(created.status == 201, "\(created.text)")
        try await platform.settle(created.string("project.id"))
        let uri = created.string("connection_uris.0.connection_uri")
        #expect(try platform.psql(uri, "SELECT 1").output == "1\n")
        #expect(try server.psql("SELECT count(*) FROM exzo.projects", database: "meta") == "1")
        #expect(!FileManager.default.fileExists(atPath: "\(platform.directory)/data/metadata"))
        // One serve at a time, whatever its data directory.
        let second = try run(
          [
            "timeout", "60", Platform.program, "serve", "--data-dir", "\(directory)/other",
            "--http", "127.0.0.1:\(try unusedPort())", "--postgres",
            "127.0.0.1:\(try unusedPort())", "--metadata-url", url,
          ], allowFailure: true)
        #expect(second.status == 1)
        #expect(
          second.errorOutput.contains("another 'exzo serve' uses it"), "\(second.errorOutput)")
        // A server that is away for a while is found again.
        try server.restart(mode: "immediate")
        for _ in 0..<100 {
          if try platform.call("GET", "/projects").status == 200 { break }
          try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try platform.call("GET", "/projects").string("projects.0.name") == "away")
      }
    }
  }

  /// `--recover-from` beside the database of an installation, from another data directory or its own.
  @Test func aRecoveryWipesNoCatalogInADatabase() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let server = try StockServer(in: "\(directory)/elsewhere")
      try server.start()
      try server.psql("CREATE ROLE keeper LOGIN; CREATE DATABASE meta OWNER keeper")
      let url = "postgresql://keeper@/meta?host=\(server.directory)&port=\(server.port)"
      let store = "file://\(directory)/store"
      let arguments = ["--metadata-url", url, "--object-store", store]
      try await withPlatform(arguments: arguments) { platform in
        platform.end(SIGTERM)
        let data = "\(platform.directory)/data"
        for (place, reason) in [
          ("\(directory)/other", "holds an installation's catalog already"),
          (data, "it holds an installation already"),
        ] {
          let refused = try run(
            [
              "timeout", "60", Platform.program, "serve", "--data-dir", place, "--http",
              "127.0.0.1:0", "--postgres", "127.0.0.1:0", "--metadata-url", url, "--recover-from",
              store, "--master-key", "\(data)/master-key",
            ], allowFailure: true)
          #expect(refused.status == 1)
          #expect(refused.errorOutput.contains(reason), "\(refused.errorOutput)")
          #expect(try server.psql("SELECT count(*) FROM exzo.accounts", database: "meta") == "1")
        }
        // Nor was its store taken.
        try await platform.start()
      }
    }
  }

  @Test func whatCannotBeUsedIsRefusedBeforeAnythingStarts() async throws {
    try await withTemporaryDirectory { directory in
      for (url, reason) in [
        ("postgresql://u:secret@127.0.0.1:1/d", "reach metadata database"),
        ("postgresql://u:secret@h/d?passfile=/etc/shadow", "'passfile' is not taken"),
        ("http://u:secret@h/d", "read connection string"),
      ] {
        let result = try run(
          [
            "timeout", "60", Platform.program, "serve", "--data-dir", "\(directory)/data",
            "--http", "127.0.0.1:\(try unusedPort())", "--postgres",
            "127.0.0.1:\(try unusedPort())", "--metadata-url", url,
          ], allowFailure: true)
        #expect(result.status == 1, "\(url)")
        #expect(result.errorOutput.contains(reason), "\(url): \(result.errorOutput)")
        #expect(!result.errorOutput.contains("secret"), "\(url): \(result.errorOutput)")
      }
    }
  }
}
