import CLibpq
import PostgresFormat

/// Where a base backup begins or ends.
public struct BackupPosition: Sendable, Equatable {
  public var lsn: LSN
  public var timeline: TimelineID

  public init(lsn: LSN, timeline: TimelineID) {
    self.lsn = lsn
    self.timeline = timeline
  }
}

/// What ends one wait for a base backup. The bytes are valid during the call that hands them over only.
public enum BackupEvent {
  /// Replay of the backup starts here. `kilobytes` is about how much will come.
  case begins(BackupPosition, kilobytes: Int)
  /// The next bytes of the archive (tar) of the data directory.
  case bytes(UnsafeRawBufferPointer)
}

extension ReplicationConnection {
  /// Copies the server's data directory, without `pg_wal`, while it works; blocks until all has come.
  ///
  /// The server makes a checkpoint first, at once. It verifies the checksums of the pages that it sends, where
  /// the cluster has them, and fails at the end where one is wrong. Needs server 15 or later.
  /// - Parameter label: shown in the backup's label file.
  /// - Returns: where the copy is consistent: replay must reach this.
  /// - Throws: ``PostgresError``; what `body` throws, and then the session cannot be used any more.
  ///
  /// Source: PostgreSQL documentation, "Streaming Replication Protocol", `BASE_BACKUP`.
  public func baseBackup(
    label: String, _ body: (BackupEvent) throws -> Void
  ) throws -> BackupPosition {
    let session = try connection.session()
    let command =
      "BASE_BACKUP (LABEL \(try SQL.literal(label)), CHECKPOINT 'fast', PROGRESS true, WAL false, "
      + "MANIFEST 'no')"
    guard PQsendQuery(session, command) == 1 else {
      throw PostgresError.session(session, .connectionLost)
    }
    let start = try position(try rows(session))
    let tablespaces = try rows(session)
    guard tablespaces.rowCount == 1, let main = tablespaces.first else {
      connection.close()
      throw PostgresError(
        .unexpectedReply, "copy the server: it has \(tablespaces.rowCount - 1) tablespaces",
        hint: "tablespaces outside the data directory are not supported: move what is in them")
    }
    try body(.begins(start, kilobytes: try main.optional("size", as: Int.self) ?? 0))
    do { try copyArchive(session, body) } catch {
      connection.close()
      throw error
    }
    let end = try position(try rows(session))
    while let rest = PQgetResult(session) {
      defer { PQclear(rest) }
      guard PQresultStatus(rest) != PGRES_FATAL_ERROR else {
        throw PostgresError(result: rest, session: session)
      }
    }
    return end
  }

  private func rows(_ session: OpaquePointer) throws -> PostgresResult {
    let result = PQgetResult(session)
    defer { PQclear(result) }
    guard let result, PQresultStatus(result) == PGRES_TUPLES_OK else {
      throw PostgresError(result: result, session: session)
    }
    return PostgresResult(result)
  }

  private func position(_ result: PostgresResult) throws -> BackupPosition {
    guard let row = result.first else {
      throw PostgresError(.unexpectedReply, "copy the server: it names no position")
    }
    return BackupPosition(
      lsn: try row.value("recptr"), timeline: TimelineID(try row.value("tli", as: UInt32.self)))
  }

  /// Hands over the bytes of the one archive.
  private func copyArchive(
    _ session: OpaquePointer, _ body: (BackupEvent) throws -> Void
  ) throws {
    let result = PQgetResult(session)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COPY_OUT else {
      throw PostgresError(result: result, session: session)
    }
    while true {
      var buffer: UnsafeMutablePointer<CChar>?
      let count = PQgetCopyData(session, &buffer, 0)
      defer { PQfreemem(buffer) }
      guard count > 0 else {
        if count == -1 { return }
        throw PostgresError.session(session, .connectionLost)
      }
      let message = UnsafeRawBufferPointer(start: buffer, count: Int(count))
      switch message[0] {
      case UInt8(ascii: "d"): try body(.bytes(UnsafeRawBufferPointer(rebasing: message[1...])))
      case UInt8(ascii: "n"), UInt8(ascii: "p"): continue
      default:
        throw PostgresError(
          .unexpectedReply, "copy the server: message of kind \(message[0]) came")
      }
    }
  }
}
