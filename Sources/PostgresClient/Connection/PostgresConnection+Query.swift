import CLibpq

/// `bytea`'s type OID (`catalog/pg_type.dat`).
private let byteaOID: Oid = 17

extension PostgresConnection {
  /// Runs one statement with parameters `$1`, `$2` … and returns its rows.
  /// - Throws: ``PostgresError`` `.server` (the session lives), `.connectionLost`,
  ///   `.invalidArgument`.
  @discardableResult
  public func query(_ sql: String, parameters: [PostgresValue?] = []) throws -> PostgresResult {
    let session = try session()
    let statement = try CStrings([sql])
    let values = try ParameterValues(parameters)
    let result = statement.withPointers { statement in
      values.withArrays { count, types, pointers, lengths, formats in
        PQexecParams(session, statement[0], count, types, pointers, lengths, formats, 0)
      }
    }
    defer { PQclear(result) }
    return try checked(result, session)
  }

  /// Runs a script of any number of statements by the simple protocol: one implicit transaction
  /// unless
  /// it says otherwise. Returns a result per statement.
  /// - Throws: ``PostgresError`` as ``query(_:parameters:)``; later statements did then not run.
  @discardableResult
  public func execute(_ script: String) throws -> [PostgresResult] {
    let session = try session()
    let sent = try CStrings([script]).withPointers { PQsendQuery(session, $0[0]) }
    guard sent == 1 else { throw sendFailure(session) }
    return try collectResults(session)
  }

  /// Reads results until the server is ready again, so that invariant 1 holds; throws the first
  /// error.
  func collectResults(_ session: OpaquePointer) throws -> [PostgresResult] {
    var results: [PostgresResult] = []
    var failure: PostgresError?
    while let result = PQgetResult(session) {
      defer { PQclear(result) }
      do {
        results.append(try checked(result, session))
      } catch let error as PostgresError {
        failure = failure ?? error
        if PQstatus(session) == CONNECTION_BAD { break }
      }
    }
    if let failure { throw failure }
    return results
  }

  /// The error of a command that could not be sent.
  func sendFailure(_ session: OpaquePointer) -> PostgresError {
    .session(session, PQstatus(session) == CONNECTION_BAD ? .connectionLost : .unexpectedReply)
  }

  /// A result that is success, copied; the caller clears `result`. An unasked COPY is ended.
  func checked(_ result: OpaquePointer?, _ session: OpaquePointer) throws -> PostgresResult {
    switch PQresultStatus(result) {
    case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
      guard let result else { break }
      return PostgresResult(result)
    case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
      abandonCopy(session, isInput: PQresultStatus(result) == PGRES_COPY_IN)
      throw PostgresError(.unexpectedReply, "statement started a COPY; use copyIn or copyOut")
    default: break
    }
    throw PostgresError(result: result, session: session)
  }

  private func abandonCopy(_ session: OpaquePointer, isInput: Bool) {
    if isInput {
      PQputCopyEnd(session, "COPY was not expected")
    } else {
      var buffer: UnsafeMutablePointer<CChar>?
      while PQgetCopyData(session, &buffer, 0) > 0 { PQfreemem(buffer) }
    }
    while let leftover = PQgetResult(session) { PQclear(leftover) }
  }
}

/// Parameters as the parallel arrays of `PQexecParams`.
private struct ParameterValues {
  private let storage: [[UInt8]?]
  private let types: [Oid]
  private let lengths: [Int32]
  private let formats: [Int32]

  init(_ parameters: [PostgresValue?]) throws {
    guard parameters.count <= Int(UInt16.max) else {
      throw PostgresError(.invalidArgument, "send \(parameters.count) parameters: at most 65535")
    }
    storage = try parameters.enumerated().map { index, parameter in
      switch parameter {
      case nil: return nil
      case .bytes(let bytes): return bytes.isEmpty ? [0] : bytes
      case .text(let text):
        guard !text.utf8.contains(0) else {
          throw PostgresError(.invalidArgument, "parameter $\(index + 1) holds a zero byte")
        }
        return Array(text.utf8) + [0]
      }
    }
    lengths = try parameters.map { parameter in
      guard case .bytes(let bytes) = parameter else { return 0 }
      guard let length = Int32(exactly: bytes.count) else {
        throw PostgresError(.invalidArgument, "send \(bytes.count) bytes: at most 1 GB")
      }
      return length
    }
    let isBytes = parameters.map { if case .bytes = $0 { true } else { false } }
    types = isBytes.map { $0 ? byteaOID : 0 }
    formats = isBytes.map { $0 ? 1 : 0 }
  }

  func withArrays<Result>(
    _ body: (
      Int32, UnsafePointer<Oid>?, UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?,
      UnsafePointer<Int32>?
    ) -> Result
  ) -> Result {
    // One block for all values, so that pointers into it stay put without nesting a closure each.
    let flat = storage.flatMap { $0 ?? [] }
    return flat.withUnsafeBytes { bytes in
      var offset = 0
      let pointers: [UnsafePointer<CChar>?] = storage.map { value in
        guard let value else { return nil }
        defer { offset += value.count }
        return bytes.baseAddress.map { ($0 + offset).assumingMemoryBound(to: CChar.self) }
      }
      return body(Int32(storage.count), types, pointers, lengths, formats)
    }
  }
}
