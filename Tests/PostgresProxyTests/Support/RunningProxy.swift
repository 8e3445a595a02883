import Foundation
import Logging
import PostgresProxy
import TestSupport
import Testing

/// A proxy before the suite's backend, and clients for it.
struct RunningProxy {
  let proxy: PostgresProxy
  let directory: FakeDirectory
  let backend: Backend
  let stateDirectory: String

  var port: Int { proxy.port }
  static let domain = "db.example.com"

  /// The environment of a libpq client with the right password.
  var environment: [String: String] {
    ["PGPASSWORD": Backend.password, "PGSSLMODE": "require", "PGCONNECT_TIMEOUT": "60"]
  }

  /// A connection string: `app` at the endpoint by option, unless `settings` say otherwise.
  func conninfo(_ settings: [String: String] = [:]) -> String {
    var all = [
      "host": "127.0.0.1", "port": "\(port)", "user": "app", "dbname": "app",
      "options": "endpoint=\(Backend.endpoint)",
    ]
    all.merge(settings) { $1 }
    return all.map { "\($0)='\($1)'" }.joined(separator: " ")
  }

  /// Runs SQL through `psql -AtXq` and returns how it ended.
  func psql(
    _ sql: String, _ settings: [String: String] = [:], environment extra: [String: String] = [:]
  ) async throws -> CommandResult {
    try await command(
      ["psql", "-AtXq", "-v", "ON_ERROR_STOP=1", conninfo(settings)],
      environment: environment.merging(extra) { $1 }, input: sql, allowFailure: true)
  }

  /// As `psql`, but expects success, and returns what it printed.
  func query(
    _ sql: String, _ settings: [String: String] = [:], environment extra: [String: String] = [:]
  ) async throws -> String {
    let result = try await psql(sql, settings, environment: extra)
    try #require(result.status == 0, "\(result.errorOutput)")
    return result.output.trimmingCharacters(in: .newlines)
  }
}

extension RunningProxy {
  /// Expects that `sql` prints `answer`.
  func expect(
    _ sql: String, gives answer: String, _ settings: [String: String] = [:],
    environment extra: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let found = try await query(sql, settings, environment: extra)
    #expect(found == answer, sourceLocation: sourceLocation)
  }
}

/// Runs a proxy for the suite's backend and shuts it down at the end.
func withProxy(
  configure: (inout ProxyConfiguration) -> Void = { _ in },
  _ body: (RunningProxy) async throws -> Void
) async throws {
  let backend = try #require(Backend.current)
  try await withTemporaryDirectory { path in
    var configuration = ProxyConfiguration(port: 0, stateDirectory: path)
    configuration.domain = RunningProxy.domain
    configure(&configuration)
    let directory = FakeDirectory(backend)
    var logger = Logger(label: "proxy")
    logger.logLevel = .critical
    let proxy = try await PostgresProxy.start(
      configuration: configuration, directory: directory, logger: logger)
    do {
      try await body(
        RunningProxy(
          proxy: proxy, directory: directory, backend: backend, stateDirectory: path))
      try await proxy.shutdown(grace: .zero)
    } catch {
      try await proxy.shutdown(grace: .zero)
      throw error
    }
  }
}

/// Waits until `condition` holds; fails the test after ten seconds.
func eventually(
  _ what: Comment, _ condition: () async throws -> Bool,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let deadline = ContinuousClock.now + .seconds(10)
  while ContinuousClock.now < deadline {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(10))
  }
  Issue.record(what, sourceLocation: sourceLocation)
}
