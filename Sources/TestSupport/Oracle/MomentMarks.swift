import PostgresFormat
import Synchronization

/// Moments of a server with what must be true at them, taken while it works and checked later on a
/// copy opened at an LSN.
///
/// A mark is a row of `exzo_marks`, committed in a transaction of its own. At a moment X it must be
/// there
/// when X lies at or after ``Mark/presentFrom``, must not be there when X lies at or before
/// ``Mark/absentUntil``, and may be either in between.
public final class MomentMarks: Sendable {
  public struct Mark: Sendable, Hashable {
    public var number: Int
    /// The insert position just before the mark's transaction began.
    public var absentUntil: LSN
    /// The insert position just after its commit returned.
    public var presentFrom: LSN
    /// The server's clock just after the commit, RFC 3339 with microseconds.
    public var time: String
  }

  private let taken = Mutex<[Mark]>([])
  private let session: Mutex<Session>

  private struct Session: ~Copyable {
    let psql: PsqlSession
  }

  /// Makes the marker table.
  public init(on server: ServerConnection) throws {
    let psql = try PsqlSession(server)
    try psql.execute(
      "CREATE TABLE IF NOT EXISTS exzo_marks (number int PRIMARY KEY, made timestamptz NOT NULL)")
    session = Mutex(Session(psql: psql))
  }

  /// All marks so far, in order.
  public var all: [Mark] { taken.withLock { $0 } }

  /// Commits one more mark. Blocks the thread until the commit is acknowledged.
  @discardableResult
  public func take() throws -> Mark {
    let number = all.count + 1
    let lines = try session.withLock { session in
      try session.psql.execute(
        """
        SELECT pg_current_wal_insert_lsn();
        INSERT INTO exzo_marks VALUES (\(number), clock_timestamp());
        SELECT pg_current_wal_insert_lsn();
        SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        """)
    }
    guard lines.count == 3, let before = LSN(lines[0]), let after = LSN(lines[1]) else {
      throw CommandFailure(description: "take mark \(number): got \(lines)")
    }
    let mark = Mark(number: number, absentUntil: before, presentFrom: after, time: lines[2])
    taken.withLock { $0.append(mark) }
    return mark
  }

  /// What is wrong at `moment` on a copy opened there, in words; empty when every mark is right.
  public func failures(on server: ServerConnection, at moment: LSN) throws -> [String] {
    // A copy of a moment before the table was made is right too.
    let hasTable = try server.psql("SELECT to_regclass('exzo_marks') IS NOT NULL") == "t"
    let rows = hasTable ? try server.psql("SELECT number FROM exzo_marks") : ""
    let present = Set(rows.split(separator: "\n").compactMap { Int($0) })
    return all.compactMap { mark in
      if mark.presentFrom <= moment, !present.contains(mark.number) {
        return "mark \(mark.number) (in from \(mark.presentFrom)) is missing at \(moment)"
      }
      if mark.absentUntil >= moment, present.contains(mark.number) {
        return "mark \(mark.number) (out until \(mark.absentUntil)) is there at \(moment)"
      }
      return nil
    }
  }
}
