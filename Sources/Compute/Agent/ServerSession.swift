import Foundation
import PostgresClient
import PostgresFormat

/// The agent's own session on its server, as the platform's superuser.
///
/// Made when first needed and again after a loss. Calls run on threads that may block.
final class ServerSession: Sendable {
  private let pool: PostgresConnectionPool

  private let segmentSize: UInt64
  /// Of a standby: the end of the WAL that it has.
  private let standsAt: (@Sendable () -> LSN)?

  init(
    directory: LineDirectory, segmentSize: UInt64, user: String = ServerAccess.superuser,
    standsAt: (@Sendable () -> LSN)? = nil
  ) {
    self.standsAt = standsAt
    self.segmentSize = segmentSize
    pool = PostgresConnectionPool(
      ServerAccess.parameters(directory, user: user), size: 2)
  }

  /// `pg_current_wal_insert_lsn()`, moved back over a page header that nothing follows yet: the
  /// server
  /// reports the place where the next record will begin, which WAL reaches only with that record.
  ///
  /// WAL up to there is flushed on return: with an open transaction or asynchronous commits nothing else
  /// might flush it for seconds.
  func insertLSN() async throws -> LSN {
    if let standsAt { return standsAt() }
    return try await pool.withConnection { [segmentSize] connection in
      let lsn = try position("pg_current_wal_insert_lsn()", connection)
        .withoutLeadingHeader(segmentSize: segmentSize)
      if try position("pg_current_wal_flush_lsn()", connection) < lsn {
        // Its commit flushes everything before it.
        _ = try connection.execute(
          """
          BEGIN; SET LOCAL synchronous_commit = local;
          SELECT pg_logical_emit_message(true, 'exzo', ''); COMMIT
          """)
      }
      return lsn
    }
  }

  /// Where WAL is durable on the compute's disk.
  func flushLSN() async throws -> LSN {
    try await pool.withConnection { try position("pg_current_wal_flush_lsn()", $0) }
  }

  /// The exact version, such as `15.20`, as the server itself tells it.
  func version() async throws -> String {
    try await pool.withConnection { connection in
      let version = connection.serverVersion
      return "\(version / 10_000).\(version % 10_000)"
    }
  }

  /// An immediate checkpoint; returns when it is complete.
  func checkpoint() async throws {
    try await pool.withConnection { connection in _ = try connection.execute("CHECKPOINT") }
  }

  /// Runs work on one of the sessions.
  func run<Value: Sendable>(
    _ work: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await pool.withConnection(work)
  }

  func close() async { await pool.close() }
}

/// Asks for one of the server's WAL positions.
private func position(_ function: String, _ connection: PostgresConnection) throws -> LSN {
  try connection.query("SELECT \(function) AS lsn").rows[0].value("lsn")
}

extension LSN {
  /// The page boundary before this position, where only a page header lies between them.
  ///
  /// 40 bytes on a segment's first page, 24 elsewhere; a record that goes on from the page before ends
  /// later than that.
  func withoutLeadingHeader(segmentSize: UInt64) -> LSN {
    if rawValue % segmentSize == 40 { return LSN(rawValue - 40) }
    return rawValue % 8192 == 24 ? LSN(rawValue - 24) : self
  }
}
