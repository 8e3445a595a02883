import CLibpq
import Glibc
import PostgresFormat

/// A session with a physical walsender.
///
/// *Purpose*: slots and the stream of WAL, as in PostgreSQL's documentation, "Streaming Replication
/// Protocol".
///
/// *State and invariants*: commands are possible while no stream is open;
/// ``receive(timeout:wake:_:)`` and
/// ``send(_:clientTime:asksReply:)`` only while one is.
///
/// *Concurrency*: as ``PostgresConnection``: one thread at a time. Another one ends a wait through
/// ``WakePipe``.
public final class ReplicationConnection {
  let connection: PostgresConnection
  private var isStreaming = false

  /// Opens a walsender session; `parameters.isReplication` and the database are overridden.
  /// - Throws: as ``PostgresConnection/init(_:)``.
  public init(_ parameters: ConnectionParameters) throws {
    var parameters = parameters
    parameters.isReplication = true
    connection = try PostgresConnection(parameters)
  }

  public var serverVersion: Int { connection.serverVersion }
  /// The walsender's process, where the server was reached over a unix socket and so is on this
  /// machine.
  public var localProcess: Int32? {
    connection.parameters.host.hasPrefix("/") ? connection.backendProcessID : nil
  }
  public func close() { connection.close() }

  public func identifySystem() throws -> SystemIdentification {
    let row = try onlyRow("IDENTIFY_SYSTEM")
    return SystemIdentification(
      systemIdentifier: try row.value("systemid"),
      timeline: TimelineID(try row.value("timeline", as: UInt32.self)),
      flushedLSN: try row.value("xlogpos"))
  }

  /// Creates a physical slot that keeps WAL from the present redo position on.
  /// - Throws: ``PostgresError`` 42710 where it exists.
  public func createPhysicalSlot(_ name: String) throws {
    try connection.execute(
      "CREATE_REPLICATION_SLOT \(SQL.identifier(name)) PHYSICAL RESERVE_WAL")
  }

  /// Reads a physical slot; `nil` where there is none. Needs server 15 or later.
  public func readPhysicalSlot(_ name: String) throws -> ReplicationSlotState? {
    let row = try onlyRow("READ_REPLICATION_SLOT \(SQL.identifier(name))")
    guard row["slot_type"] != nil else { return nil }
    return ReplicationSlotState(
      restartLSN: try row.optional("restart_lsn"),
      restartTimeline: try row.optional("restart_tli", as: UInt32.self).map { TimelineID($0) })
  }

  /// Drops a slot, waiting for a session that uses it to let go.
  public func dropSlot(_ name: String) throws {
    try connection.execute("DROP_REPLICATION_SLOT \(SQL.identifier(name)) WAIT")
  }

  /// The history file of a timeline, as the server keeps it.
  public func timelineHistory(_ timeline: TimelineID) throws -> [UInt8] {
    let row = try onlyRow("TIMELINE_HISTORY \(timeline.rawValue)")
    return row.bytes(1) ?? []
  }

  /// A setting's value, as `SHOW` prints it.
  public func setting(_ name: String) throws -> String {
    try onlyRow("SHOW \(SQL.identifier(name))")[0] ?? ""
  }

  private func onlyRow(_ command: String) throws -> PostgresRow {
    guard let row = try connection.execute(command).first?.first else {
      throw PostgresError(.unexpectedReply, "run \(command): no row came back")
    }
    return row
  }
}

extension ReplicationConnection {
  /// Starts the stream at `start`, which need not be a record's or a segment's beginning.
  ///
  /// Returns a switch at once where the server has no more of that timeline, else `nil`.
  /// - Throws: ``PostgresError``: 42704 no such slot, 55006 slot in use, 58P01 WAL already removed.
  public func startStreaming(
    slot: String?, from start: LSN, timeline: TimelineID
  ) throws -> TimelineSwitch? {
    let session = try connection.session()
    let slot = try slot.map { "SLOT \(try SQL.identifier($0)) " } ?? ""
    let command = "START_REPLICATION \(slot)PHYSICAL \(start) TIMELINE \(timeline.rawValue)"
    let result = PQexec(session, command)
    defer { PQclear(result) }
    switch PQresultStatus(result) {
    case PGRES_COPY_BOTH:
      isStreaming = true
      return nil
    case PGRES_COMMAND_OK, PGRES_TUPLES_OK:
      guard let result else { break }
      return try timelineSwitch(PostgresResult(result))
    default: break
    }
    throw PostgresError(result: result, session: session)
  }

  /// Waits for the next message, at most `timeout`, and hands it to `body`.
  ///
  /// Never asks the kernel where libpq holds a whole message already. After `.ended` the stream is
  /// closed and commands are
  /// possible, unless the server is gone.
  /// - Throws: ``PostgresError`` `.connectionLost`, or `.server` for what the server says; what
  ///   `body` throws.
  public func receive<Value>(
    timeout: Duration, wake: WakePipe?, _ body: (ReplicationEvent) throws -> Value
  ) throws -> Value {
    precondition(isStreaming, "no stream is open")
    let session = try connection.session()
    var buffer: UnsafeMutablePointer<CChar>?
    var count = PQgetCopyData(session, &buffer, 1)
    if count == 0 {
      guard try waitForInput(session, timeout, wake) else { return try body(.idle) }
      guard PQconsumeInput(session) == 1 else {
        throw PostgresError.session(session, .connectionLost)
      }
      count = PQgetCopyData(session, &buffer, 1)
    }
    defer { PQfreemem(buffer) }
    switch count {
    case 1...:
      return try body(
        ReplicationEvent(message: UnsafeRawBufferPointer(start: buffer, count: Int(count))))
    case 0: return try body(.idle)
    case -1: return try body(.ended(next: try endOfStream(session)))
    default: throw connection.sendFailure(session)
    }
  }

  /// Reports positions to the server.
  /// - Parameter clientTime: microseconds since 2000-01-01 UTC; shown in `pg_stat_replication`.
  public func send(_ status: StandbyStatus, clientTime: Int64, asksReply: Bool = false) throws {
    precondition(isStreaming, "no stream is open")
    let session = try connection.session()
    let message = status.message(clientTime: clientTime, asksReply: asksReply)
    let sent = message.withUnsafeBytes {
      PQputCopyData(
        session, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count))
    }
    guard sent == 1, PQflush(session) == 0 else {
      throw PostgresError.session(session, .connectionLost)
    }
  }

  /// Waits for the socket; `false` where the time is over or `wake` was called and nothing came.
  private func waitForInput(
    _ session: OpaquePointer, _ timeout: Duration, _ wake: WakePipe?
  ) throws -> Bool {
    let milliseconds = Int32(clamping: Int64((timeout / .milliseconds(1)).rounded(.up)))
    var descriptors = [
      pollfd(fd: PQsocket(session), events: Int16(POLLIN), revents: 0),
      pollfd(fd: wake?.readEnd ?? -1, events: Int16(POLLIN), revents: 0),
    ]
    guard poll(&descriptors, 2, max(0, milliseconds)) >= 0 || errno == EINTR else {
      throw PostgresError(
        .connectionLost, "wait for the server: \(String(cString: strerror(errno)))")
    }
    if descriptors[1].revents != 0 { wake?.drain() }
    return descriptors[0].revents != 0
  }

  /// Reads how the stream ended. Source: `HandleEndOfCopyStream` in
  /// `bin/pg_basebackup/receivelog.c`.
  private func endOfStream(_ session: OpaquePointer) throws -> TimelineSwitch? {
    isStreaming = false
    var next: TimelineSwitch?
    var isComplete = false
    while let result = PQgetResult(session) {
      defer { PQclear(result) }
      switch PQresultStatus(result) {
      case PGRES_COPY_IN, PGRES_COPY_BOTH:
        guard PQputCopyEnd(session, nil) == 1, PQflush(session) == 0 else {
          throw PostgresError.session(session, .connectionLost)
        }
      case PGRES_COMMAND_OK: isComplete = true
      // A walsender that has sent all of a server shutting down says so and hangs up.
      case PGRES_FATAL_ERROR where isComplete && PQstatus(session) == CONNECTION_BAD: return next
      case PGRES_TUPLES_OK: next = try timelineSwitch(PostgresResult(result))
      default: throw PostgresError(result: result, session: session)
      }
    }
    return next
  }

  private func timelineSwitch(_ result: PostgresResult) throws -> TimelineSwitch? {
    guard let row = result.first else { return nil }
    return TimelineSwitch(
      timeline: TimelineID(try row.value("next_tli", as: UInt32.self)),
      startLSN: try row.value("next_tli_startpos"))
  }
}

extension ReplicationEvent {
  /// Reads a message of the stream.
  /// - Throws: ``PostgresError`` `.unexpectedReply` for an unknown or short one.
  init(message: UnsafeRawBufferPointer) throws {
    switch message.first {
    case UInt8(ascii: "w") where message.count >= 25:
      self = .wal(
        start: LSN(bigEndian64(message, at: 1)), serverEnd: LSN(bigEndian64(message, at: 9)),
        bytes: UnsafeRawBufferPointer(rebasing: message[25...]))
    case UInt8(ascii: "k") where message.count >= 18:
      self = .keepalive(
        serverEnd: LSN(bigEndian64(message, at: 1)), isReplyRequested: message[17] != 0)
    default:
      throw PostgresError(
        .unexpectedReply,
        "read replication message: kind \(message.first ?? 0), \(message.count) bytes")
    }
  }
}
