import Foundation
import PostgresProxy
import TestSupport
import Testing

@Suite(.backend, .serialized)
struct ProxyRoutingTests {
  @Test func optionNamesTheEndpointOverTLSAndPlain() async throws {
    try await withProxy { proxy in
      try await proxy.expect("SELECT current_user", gives: "app")
      let plain = try await proxy.query(
        "SELECT current_user", environment: ["PGSSLMODE": "disable"])
      #expect(plain == "app")
      let uri =
        "postgresql://app@127.0.0.1:\(proxy.port)/app?sslmode=require"
        + "&options=endpoint%3D\(Backend.endpoint)"
      let result = try await command(
        ["psql", "-AtXqc", "SELECT 42", uri], environment: proxy.environment)
      #expect(result.output == "42\n")
    }
  }

  @Test func hostNameNamesTheEndpoint() async throws {
    try await withProxy { proxy in
      let host = "\(Backend.endpoint).\(RunningProxy.domain)"
      let settings = ["host": host, "hostaddr": "127.0.0.1", "options": ""]
      try await proxy.expect("SELECT 1", gives: "1", settings)
      let certificate = "\(proxy.stateDirectory)/server.crt"
      let verified = settings.merging(["sslmode": "verify-full", "sslrootcert": certificate]) { $1 }
      try await proxy.expect("SELECT 2", gives: "2", verified)
      let loopback = ["host": "localhost", "sslmode": "verify-full", "sslrootcert": certificate]
      try await proxy.expect("SELECT 3", gives: "3", loopback)
    }
  }

  @Test func anAddressThatIsNotAllowedIsToldAfterItsPasswordAndWakesNothing() async throws {
    try await withProxy { proxy in
      proxy.directory.change { $0.allowedAddress = "192.0.2.1" }
      let refused = try await proxy.psql("SELECT 1")
      #expect(refused.status == 2)
      #expect(refused.errorOutput.contains("connections from 127.0.0.1 are not allowed"))
      #expect(proxy.directory.now.wakes == 0)
      proxy.directory.change { $0.allowedAddress = "127.0.0.1" }
      try await proxy.expect("SELECT 1", gives: "1")
    }
  }

  @Test func optionsOfAPooledConnectionAreRefusedAndNotLost() async throws {
    try await withProxy { proxy in
      let pooled = "endpoint=\(Backend.endpoint)-pooler"
      for options in ["\(pooled) -c work_mem=1MB", "-csearch_path=other \(pooled)"] {
        let refused = try await proxy.psql("SELECT 1", ["options": options])
        #expect(refused.status == 2)
        #expect(
          refused.errorOutput.contains("a pooled connection takes no options of its own"),
          "\(refused.errorOutput)")
      }
      #expect(proxy.directory.now.wakes == 0)
      try await proxy.expect(
        "SHOW work_mem", gives: "1MB",
        ["options": "endpoint=\(Backend.endpoint) -c work_mem=1MB"])
    }
  }

  @Test func poolerSuffixReachesTheDirectory() async throws {
    try await withProxy { proxy in
      _ = try await proxy.query("SELECT 1", ["options": "endpoint=\(Backend.endpoint)-pooler"])
      let target = ProxyTarget(name: .endpoint(Backend.endpoint), isPooled: true)
      #expect(proxy.directory.now.lookUps == [target])
    }
  }

  @Test func hostNameAndOptionThatDisagreeAreRefused() async throws {
    try await withProxy { proxy in
      let host = "ep-other-river-12345678.\(RunningProxy.domain)"
      let result = try await proxy.psql(
        "SELECT 1", ["host": host, "hostaddr": "127.0.0.1"])
      #expect(result.status == 2)
      #expect(result.errorOutput.contains("the host name names 'ep-other-river-12345678'"))
      #expect(proxy.directory.now.lookUps.isEmpty)
    }
  }

  @Test func otherOptionsPassThrough() async throws {
    try await withProxy { proxy in
      let options = "-c work_mem=7MB endpoint=\(Backend.endpoint) -c search_path=a,\\\\ b"
      let settings = ["options": options]
      try await proxy.expect("SHOW work_mem", gives: "7MB", settings)
      try await proxy.expect("SHOW search_path", gives: "a, b", settings)
    }
  }

  @Test func passwordNamesTheEndpointInsideTLSOnly() async throws {
    try await withProxy { proxy in
      let form = "endpoint=\(Backend.endpoint);\(Backend.password)"
      let settings = ["options": ""]
      let right = try await proxy.query("SELECT 7", settings, environment: ["PGPASSWORD": form])
      #expect(right == "7")
      let wrong = try await proxy.psql(
        "SELECT 7", settings, environment: ["PGPASSWORD": "\(form)x"])
      #expect(wrong.errorOutput.contains("password authentication failed"))
      let plain = try await proxy.psql(
        "SELECT 7", settings, environment: ["PGPASSWORD": form, "PGSSLMODE": "disable"])
      #expect(plain.errorOutput.contains("does not name an endpoint"))
      let bare = try await proxy.psql("SELECT 7", settings)
      #expect(bare.errorOutput.contains("does not name an endpoint"))
      #expect(proxy.directory.now.wakes == 1)
    }
  }

  @Test func momentReachesTheDirectoryWhoseRefusalIsTold() async throws {
    try await withProxy { proxy in
      let options = "endpoint=br-calm-lake-12345678 exzo_lsn:0/1A2B3C"
      let result = try await proxy.psql("SELECT 1", ["options": options])
      #expect(result.errorOutput.contains("no moments here"))
      let target = ProxyTarget(name: .branch("br-calm-lake-12345678"), moment: .lsn("0/1A2B3C"))
      #expect(proxy.directory.now.lookUps == [target])
    }
  }

  @Test func certificateAndKeySurviveARestartAndKeyIsPrivate() async throws {
    try await withProxy { proxy in
      let path = "\(proxy.stateDirectory)/server.crt"
      let first = try String(contentsOfFile: path, encoding: .utf8)
      var configuration = ProxyConfiguration(port: 0, stateDirectory: proxy.stateDirectory)
      configuration.domain = RunningProxy.domain
      func restart() async throws -> String {
        let again = try await PostgresProxy.start(
          configuration: configuration, directory: proxy.directory, logger: .init(label: "again"))
        try await again.shutdown(grace: .zero)
        return try String(contentsOfFile: path, encoding: .utf8)
      }
      let same = try await restart()
      #expect(same == first)
      configuration.domain = "elsewhere.example.com"
      let other = try await restart()
      #expect(other != first)
      for name in ["server.key", "mock-secret"] {
        let attributes = try FileManager.default.attributesOfItem(
          atPath: "\(proxy.stateDirectory)/\(name)")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
      }
    }
  }

  @Test func portInUseIsAClearError() async throws {
    try await withProxy { proxy in
      let configuration = ProxyConfiguration(
        port: proxy.port, stateDirectory: proxy.stateDirectory)
      await #expect {
        _ = try await PostgresProxy.start(
          configuration: configuration, directory: proxy.directory, logger: .init(label: "second"))
      } throws: { error in
        (error as? ProxyStartError)?.code == .listenFailed
      }
    }
  }
}
