import CLibpq

/// How much a transaction sees of others.
public enum TransactionIsolation: String, Sendable {
  case readCommitted = "READ COMMITTED"
  case repeatableRead = "REPEATABLE READ"
  case serializable = "SERIALIZABLE"
}

extension PostgresConnection {
  /// Runs `body` in a transaction: committed on return, rolled back on throw.
  ///
  /// Where COMMIT itself fails with `.connectionLost`, whether it took effect is unknown.
  /// - Throws: what `body` throws; ``PostgresError`` of BEGIN or COMMIT. A commit that the server
  ///   turned
  ///   into a rollback, because a statement failed within and `body` hid it, throws SQLSTATE 25P02.
  public func withTransaction<Result>(
    isolation: TransactionIsolation = .readCommitted, isReadOnly: Bool = false,
    _ body: (PostgresConnection) throws -> Result
  ) throws -> Result {
    let access = isReadOnly ? "READ ONLY" : "READ WRITE"
    try query("BEGIN ISOLATION LEVEL \(isolation.rawValue) \(access)")
    let value: Result
    do {
      value = try body(self)
    } catch {
      // The first error tells what happened; a rollback fails only where the session is gone, and
      // then the
      // server rolls back by itself.
      _ = try? query("ROLLBACK")
      throw error
    }
    let commit = try query("COMMIT")
    guard commit.commandTag == "COMMIT" else {
      throw PostgresError(
        .server, "commit transaction: rolled back, because a statement in it failed",
        sqlState: "25P02")
    }
    return value
  }
}

extension PostgresConnection {
  /// Runs `COPY … TO STDOUT` and hands over each piece of its output, valid during the call only.
  ///
  /// Where `body` throws, the statement is cancelled and the session stays usable.
  public func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    let session = try session()
    try startCopy(sql, expecting: PGRES_COPY_OUT, session)
    var failure: (any Error)?
    var buffer: UnsafeMutablePointer<CChar>?
    while true {
      let count = PQgetCopyData(session, &buffer, 0)
      guard count > 0 else { break }
      defer { PQfreemem(buffer) }
      guard failure == nil else { continue }
      do {
        try body(UnsafeRawBufferPointer(start: buffer, count: Int(count)))
      } catch {
        failure = error
        // Where it cannot be cancelled the rest is read and dropped: slower, no less right.
        try? cancellation.cancel()
      }
    }
    do {
      _ = try collectResults(session)
    } catch {
      throw failure ?? error
    }
    if let failure { throw failure }
  }

  /// Runs `COPY … FROM STDIN` with the bytes that `body` passes on, and returns the rows copied.
  ///
  /// Where `body` throws, the server is told to abandon the COPY: no row stays.
  @discardableResult
  public func copyIn(
    _ sql: String, _ body: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void
  ) throws -> Int {
    let session = try session()
    try startCopy(sql, expecting: PGRES_COPY_IN, session)
    do {
      try body { bytes in
        let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        guard PQputCopyData(session, start, Int32(bytes.count)) == 1 else {
          throw sendFailure(session)
        }
      }
    } catch {
      PQputCopyEnd(session, "abandoned by the client")
      while let result = PQgetResult(session) { PQclear(result) }
      throw error
    }
    guard PQputCopyEnd(session, nil) == 1 else { throw sendFailure(session) }
    return try collectResults(session).last?.rowsAffected ?? 0
  }

  private func startCopy(
    _ sql: String, expecting status: ExecStatusType, _ session: OpaquePointer
  ) throws {
    let result = try CStrings([sql]).withPointers { PQexec(session, $0[0]) }
    defer { PQclear(result) }
    guard PQresultStatus(result) != status else { return }
    _ = try checked(result, session)
    throw PostgresError(.unexpectedReply, "statement is not the COPY that was expected")
  }
}
