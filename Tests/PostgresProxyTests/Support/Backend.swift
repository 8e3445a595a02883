import Foundation
import PostgresProxy
import TestSupport
import Testing

/// Runs a program off the cooperative pool, which the proxy's directory needs for its answers.
@discardableResult
func command(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil,
  allowFailure: Bool = false
) async throws -> CommandResult {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread {
      // Threads of the pool block SIGINT, and a program would inherit that.
      var none = sigset_t()
      sigemptyset(&none)
      pthread_sigmask(SIG_SETMASK, &none, nil)
      continuation.resume(
        with: Result {
          try run(
            arguments, environment: environment, input: input, allowFailure: allowFailure)
        })
    }
  }
}

/// A stock server that asks every role but `postgres` for its password, shared by a suite.
final class Backend: Sendable {
  @TaskLocal static var current: Backend?

  let server: StockServer
  /// Of the role `app`, password `secret`; and of `other`.
  let verifiers: [String: String]

  static let password = "secret"
  static let endpoint = "ep-quiet-river-12345678"

  init(in directory: String) throws {
    server = try StockServer(
      in: directory, settings: ["max_connections=120", "max_wal_senders=4", "shared_buffers=64MB"])
    try """
    local all postgres trust
    local all all scram-sha-256
    local replication all scram-sha-256
    """.write(
      toFile: "\(server.dataDirectory)/pg_hba.conf", atomically: false, encoding: .utf8)
    try server.start()
    try server.psql(
      """
      CREATE ROLE app LOGIN REPLICATION PASSWORD '\(Self.password)';
      CREATE ROLE other LOGIN PASSWORD 'pässwörd ½';
      CREATE DATABASE app OWNER app;
      """)
    let rows = try server.psql("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin")
    verifiers = rows.split(separator: "\n").reduce(into: [:]) { found, row in
      let fields = row.split(separator: "|", maxSplits: 1, omittingEmptySubsequences: false)
      found[String(fields[0])] = String(fields[1])
    }
  }

  var socketPath: String { "\(server.directory)/.s.PGSQL.\(server.port)" }
}

/// Gives a suite one ``Backend``, stopped and removed at its end.
struct WithBackend: SuiteTrait, TestScoping {
  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withTemporaryDirectory { path in
      let backend = try Backend(in: path)
      do {
        try await Backend.$current.withValue(backend) { try await function() }
        try backend.server.stop(mode: "immediate")
      } catch {
        try backend.server.stop(mode: "immediate")
        throw error
      }
    }
  }
}

extension SuiteTrait where Self == WithBackend {
  static var backend: Self { Self() }
}
