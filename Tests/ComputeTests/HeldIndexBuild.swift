import Foundation
import PostgresFormat
import TestSupport

/// A CREATE INDEX that waits in the middle: its expression takes locks that another session holds.
///
/// GiST, one row at a time, as no operator class for ranges sorts: its pages are logged when all of them are there.
final class HeldIndexBuild: @unchecked Sendable {
  private let server: ServerConnection
  private let holder: PsqlSession
  private let builder: PsqlSession
  private let done = DispatchSemaphore(value: 0)
  // Written by the builder's thread before `done` is signalled.
  private var failure: (any Error)?

  static let rows = 20_000
  /// At these rows the build waits.
  static let stops = [6_000, 12_000]

  static let preparation = """
    CREATE TABLE item (id int, span int4range);
    INSERT INTO item SELECT n, int4range((n * 7919) % 100000, (n * 7919) % 100000 + n % 50)
      FROM generate_series(1, \(rows)) AS n;
    CREATE FUNCTION held(id int, span int4range) RETURNS int4range IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
      IF id IN (\(stops.map(String.init).joined(separator: ", "))) THEN
        PERFORM pg_advisory_lock_shared(id); PERFORM pg_advisory_unlock_shared(id);
      END IF;
      RETURN span;
    END $$;
    CHECKPOINT
    """

  /// Makes the table.
  init(on server: ServerConnection) throws {
    self.server = server
    try server.psql(HeldIndexBuild.preparation)
    holder = try PsqlSession(server)
    builder = try PsqlSession(server)
    for stop in HeldIndexBuild.stops { try holder.execute("SELECT pg_advisory_lock(\(stop))") }
  }

  deinit {
    holder.close()
    builder.close()
  }

  /// Begins to build, up to the first stop.
  func begin() throws {
    Thread.detachNewThread { [self] in
      do {
        try builder.execute("CREATE INDEX built ON item USING gist (held(id, span))")
      } catch { failure = error }
      done.signal()
    }
    try waitAtStop(0)
  }

  /// Lets the build go on from stop `number` to the next one, or to its end.
  func goOn(from number: Int) throws {
    try holder.execute("SELECT pg_advisory_unlock(\(HeldIndexBuild.stops[number]))")
    if number + 1 < HeldIndexBuild.stops.count { return try waitAtStop(number + 1) }
    done.wait()
    if let failure { throw failure }
  }

  /// Ends both sessions where the server is gone.
  func abandon() {
    builder.close()
    holder.close()
    done.wait()
  }

  private func waitAtStop(_ number: Int) throws {
    let question = """
      SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND objid = \(HeldIndexBuild.stops[number])
      """
    for _ in 0..<3000 {
      if try server.psql(question) == "1" { return }
      if let failure { throw failure }
      usleep(10_000)
    }
    throw CommandFailure(description: "build an index: not at row \(HeldIndexBuild.stops[number])")
  }
}
