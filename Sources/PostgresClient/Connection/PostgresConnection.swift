import CLibpq
import Glibc

/// A session with a server.
///
/// *Purpose*: statements, scripts, transactions and COPY over libpq, text format.
///
/// *State and invariants*: 1. Between calls no result is pending and no COPY is open. 2. After an
/// error
/// of code `.connectionLost` or `.connectFailed` the session stays dead; open another.
///
/// *Concurrency*: every call blocks its thread; one thread at a time. Only ``cancellation`` may be
/// used from
/// elsewhere. From async code use ``PostgresConnectionPool``.
///
/// *Not guarded here*: a server that accepts a statement and never answers. Set `statement_timeout`
/// in
/// ``ConnectionParameters/options``, or cancel.
public final class PostgresConnection {
  public let parameters: ConnectionParameters
  /// Called with each notice on the calling thread, within the call that received it.
  public var onNotice: ((PostgresNotice) -> Void)?
  /// Stops the running statement from another thread.
  public let cancellation: PostgresCancellation
  private var handle: OpaquePointer?

  /// Opens a session.
  /// - Throws: ``PostgresError`` `.connectFailed` naming host or socket; `.invalidArgument` where a
  ///   parameter holds a zero byte.
  public init(_ parameters: ConnectionParameters) throws {
    self.parameters = parameters
    let keywords = parameters.keywords
    let names = try CStrings(keywords.map { $0.0 })
    let values = try CStrings(keywords.map { $0.1 })
    guard
      let handle = names.withPointers({ names in
        values.withPointers { PQconnectdbParams(names, $0, 0) }
      })
    else { throw PostgresError(.connectFailed, "connect to server: out of memory") }
    guard PQstatus(handle) == CONNECTION_OK, let cancel = PQgetCancel(handle) else {
      defer { PQfinish(handle) }
      throw PostgresError.session(handle, .connectFailed)
    }
    self.handle = handle
    cancellation = PostgresCancellation(cancel)
    PQsetNoticeReceiver(
      handle,
      { context, result in
        guard let context else { return }
        let connection = Unmanaged<PostgresConnection>.fromOpaque(context).takeUnretainedValue()
        connection.onNotice?(PostgresNotice(result: result))
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit { close() }

  /// Ends the session; further calls throw `.closed`.
  public func close() {
    if let handle { PQfinish(handle) }
    handle = nil
  }

  /// Whether the session works as far as is known without asking the server; sees an end that the
  /// server announced while the session was idle. Does not block.
  public var isAlive: Bool {
    guard let handle, PQstatus(handle) == CONNECTION_OK else { return false }
    var descriptor = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
    // A server that goes away may send a last message before the end of the stream.
    while poll(&descriptor, 1, 0) > 0, PQconsumeInput(handle) == 1 {}
    return PQstatus(handle) == CONNECTION_OK
  }

  /// Whether a transaction is open, failed ones included.
  public var isInTransaction: Bool {
    guard let handle else { return false }
    return PQtransactionStatus(handle) != PQTRANS_IDLE
  }

  /// The server's version: 150020 for 15.20.
  public var serverVersion: Int { handle.map { Int(PQserverVersion($0)) } ?? 0 }

  /// The process that serves this session.
  public var backendProcessID: Int32 { handle.map { PQbackendPID($0) } ?? 0 }

  /// A setting that the server reports by itself, such as `server_version` or `in_hot_standby`.
  public func reportedSetting(_ name: String) -> String? {
    guard let handle, let value = PQparameterStatus(handle, name) else { return nil }
    return String(cString: value)
  }

  /// The libpq session, for this target's other files.
  func session() throws -> OpaquePointer {
    guard let handle else { throw PostgresError(.closed, "connection was closed") }
    return handle
  }
}

/// Stops a session's running statement, from any thread.
public final class PostgresCancellation: @unchecked Sendable {
  // libpq documents PQcancel as safe to call from any thread: it reads the object only.
  private let handle: OpaquePointer

  fileprivate init(_ handle: OpaquePointer) { self.handle = handle }
  deinit { PQfreeCancel(handle) }

  /// Asks the server to stop what the session is doing now; the statement then fails with 57014, or
  /// succeeds where the request came too late. Blocks for a connection of its own.
  /// - Throws: ``PostgresError`` `.connectFailed` where the request could not be delivered.
  public func cancel() throws {
    var message = [CChar](repeating: 0, count: 256)
    guard PQcancel(handle, &message, Int32(message.count)) == 1 else {
      let text = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      throw PostgresError(
        .connectFailed, "cancel statement: " + String(decoding: text, as: UTF8.self))
    }
  }
}

/// Zero-terminated copies of strings, and an array of pointers to them that ends with a null.
struct CStrings {
  private let strings: [ContiguousArray<CChar>]

  init(_ texts: [String]) throws {
    strings = try texts.map { text in
      guard !text.utf8.contains(0) else {
        throw PostgresError(.invalidArgument, "text holds a zero byte: '\(text.prefix(64))'")
      }
      return text.utf8CString
    }
  }

  func withPointers<Result>(
    _ body: (UnsafePointer<UnsafePointer<CChar>?>) throws -> Result
  ) rethrows -> Result {
    var pointers: [UnsafePointer<CChar>?] = []
    func step(_ index: Int) throws -> Result {
      if index == strings.count {
        pointers.append(nil)
        return try pointers.withUnsafeBufferPointer { try body($0.baseAddress!) }
      }
      return try strings[index].withUnsafeBufferPointer {
        pointers.append($0.baseAddress)
        return try step(index + 1)
      }
    }
    return try step(0)
  }
}
