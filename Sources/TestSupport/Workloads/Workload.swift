import Foundation
import Synchronization

/// A repeatable kind of work on a server, and what must hold of its tables at any transaction
/// boundary.
///
/// Each step is one transaction (or a statement that cannot be in one) by one worker. A worker's
/// steps
/// are numbered from 1, and the step's own transaction puts the number into `exzo_ledger`: at any
/// moment
/// the ledger of a worker has no gap, and agrees with the tables the same transactions changed.
public protocol Workload: Sendable {
  /// A lower-case word; also the schema that holds the workload's tables.
  var name: String { get }
  /// SQL that makes the tables, in the workload's schema.
  var preparation: String { get }
  /// Does step `step`, with ``WorkloadStep/commit(_:)`` once and statements of its own before or
  /// after.
  func perform(_ step: inout WorkloadStep) throws
  /// Questions whose answer must be `t` at any transaction boundary.
  var checks: [ConsistencyCheck] { get }
  /// What a question cannot ask, such as whether other databases exist. In words; empty when right.
  func furtherFailures(on server: ServerConnection) throws -> [String]
}

extension Workload {
  public func furtherFailures(on server: ServerConnection) throws -> [String] { [] }
}

/// A question whose last line of output must be `t`.
public struct ConsistencyCheck: Sendable {
  public var claim: String
  public var sql: String
  /// True only of a server that came up by recovery and has not been written to since.
  public var isOnlyAfterRecovery: Bool

  public init(_ claim: String, onlyAfterRecovery: Bool = false, _ sql: String) {
    self.claim = claim
    self.sql = sql
    isOnlyAfterRecovery = onlyAfterRecovery
  }
}

/// One step of one worker: its number, its randomness, its session.
public struct WorkloadStep {
  public let workload: String
  public let worker: Int
  public let number: Int
  public var random: SeededRandom
  public let session: PsqlSession

  /// Runs `sql` and the ledger's entry in one transaction.
  public func commit(_ sql: String) throws {
    try session.execute("BEGIN;\n\(sql);\n\(ledgerEntry);\nCOMMIT")
  }

  /// The statement that counts this step; for transactions that do not end in a plain COMMIT.
  public var ledgerEntry: String {
    "INSERT INTO exzo_ledger VALUES ('\(workload)', \(worker), \(number))"
  }

  /// Runs a statement outside the step's transaction. Conflicts with other workers are no failure.
  public func attempt(_ sql: String) throws {
    do { try session.execute(sql) } catch let failure as StatementFailure {
      try session.execute("ROLLBACK")
      guard failure.isConflict else { throw failure }
    }
  }

  /// Runs a statement that writes a table anew, dead rows that somebody may still see among them. The
  /// out-of-line values of a dead row may be gone, as the TOAST table is vacuumed for itself, and stock PostgreSQL
  /// refuses then (`toast_fetch_datum`); that is no failure as long as every row that lives can be read.
  /// - Parameter reading: reads every out-of-line value of the table.
  public func attemptRewrite(_ sql: String, reading: String) throws {
    do { try attempt(sql) } catch let failure as StatementFailure {
      guard failure.sqlState == "XX001", failure.message.contains("missing chunk number") else {
        throw failure
      }
      try session.execute(reading)
    }
  }
}

extension StatementFailure {
  /// What concurrent work may run into: serialisation, deadlock, lock timeout, a tuple or object
  /// changed under us, an object in use.
  var isConflict: Bool {
    ["40001", "40P01", "55P03", "55006", "XX000"].contains(sqlState)
      && (sqlState != "XX000" || message.contains("concurrently"))
  }
}

/// What a run did, for the claims that follow it.
public struct WorkloadReport: Sendable {
  /// Steps acknowledged, by workload and worker.
  public var acknowledged: [String: [Int: Int]] = [:]
  /// Steps given up for a conflict and tried again.
  public var conflicts = 0
  /// Sessions lost and made anew.
  public var reconnects = 0

  public var total: Int { acknowledged.values.reduce(0) { $0 + $1.values.reduce(0, +) } }
}

extension Workload {
  public static var ledgerPreparation: String {
    """
    CREATE TABLE IF NOT EXISTS exzo_ledger (workload text, worker int, step int,
      PRIMARY KEY (workload, worker, step))
    """
  }

  /// Makes the ledger, the workload's schema and its tables.
  public func prepare(on server: ServerConnection) throws {
    try server.psql(
      """
      SET client_min_messages = warning;
      \(Self.ledgerPreparation);
      CREATE SCHEMA \(name); SET search_path = \(name), public;
      \(preparation)
      """)
  }

  /// What is wrong with the workload's tables, in words; empty when every claim holds.
  ///
  /// - Parameters:
  ///   - acknowledged: what must be there at least, by worker; for a head, not for a past moment.
  ///   - isRecovered: the server came up by recovery and was not written to since.
  public func failures(
    on server: ServerConnection, acknowledged: [Int: Int] = [:], isRecovered: Bool = false
  ) throws -> [String] {
    let ledger = ConsistencyCheck(
      "the ledger of each worker has no gap",
      """
      SELECT coalesce(bool_and(n = last), true) FROM (SELECT count(*) n, max(step) last
        FROM public.exzo_ledger WHERE workload = '\(name)' GROUP BY worker) AS w
      """)
    var found: [String] = []
    for check in [ledger] + checks where isRecovered || !check.isOnlyAfterRecovery {
      let answer: String
      do {
        answer = try server.psql("SET search_path = \(name), public;\n\(check.sql)")
      } catch let failure as CommandFailure {
        answer = failure.description
      }
      if answer.split(separator: "\n").last != "t" {
        found.append("\(name): not so: \(check.claim): \(answer)")
      }
    }
    for (worker, steps) in acknowledged.sorted(by: { $0.key < $1.key }) {
      let there = try WorkloadRun.lastStep(of: name, worker: worker, on: server)
      if there < steps {
        found.append("\(name): worker \(worker): \(steps) steps acknowledged, \(there) there")
      }
    }
    return found + (try furtherFailures(on: server))
  }
}
