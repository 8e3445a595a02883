import Foundation
import PostgresClient
import PostgresFormat

/// The agent's own session on its server, as the platform's superuser.
///
/// Made when first needed and again after a loss. Calls run on threads that may block.
final class ServerSession: Sendable {
  private let pool: PostgresConnectionPool

  init(directory: LineDirectory) {
    pool = PostgresConnectionPool(
      ConnectionParameters(
        host: directory.run, user: ServerAccess.superuser, database: "postgres",
        connectTimeout: 10, applicationName: "exzo agent"),
      size: 2)
  }

  /// `pg_current_wal_insert_lsn()`, moved back over a page header that nothing follows yet: the
  /// server
  /// reports the place where the next record will begin, which WAL reaches only with that record.
  func insertLSN() async throws -> LSN {
    let text = try await pool.withConnection { connection in
      try connection.query("SELECT pg_current_wal_insert_lsn()::text AS lsn")
        .rows[0].value("lsn", as: String.self)
    }
    guard let lsn = LSN(text) else {
      throw ComputeError(.agent, "ask the server for its insert LSN: it said '\(text)'")
    }
    return lsn.withoutLeadingHeader
  }

  /// An immediate checkpoint; returns when it is complete.
  func checkpoint() async throws {
    try await pool.withConnection { connection in _ = try connection.execute("CHECKPOINT") }
  }

  /// Writes out asynchronous commits up to the insert position.
  func run<Value: Sendable>(
    _ work: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await pool.withConnection(work)
  }

  func close() async { await pool.close() }
}

extension LSN {
  /// The page boundary before this position, where only a page header lies between them.
  var withoutLeadingHeader: LSN {
    let offset = rawValue % 8192
    // 40 bytes on a segment's first page, 24 elsewhere; records begin 8-aligned after them.
    return offset == 24 || offset == 40 ? LSN(rawValue - offset) : self
  }
}
