import ControlPlane
import Foundation
import PostgresClient

/// The database that a restore makes for itself, told from one that somebody else made.
///
/// *Crash*: before it is made, the OID that it will have is noted on the restore's role, with a transaction number older
/// than it. Whoever repeats the restore knows by that whose the database is, and whether anything was put into it.
struct MadeDatabase {
  let role: RestoreRole
  let name: String
  let cluster: PostgresConnection

  /// What is known of one attempt at making it.
  private struct Note {
    var oid: UInt32
    /// All that was put into the database was written by later transactions.
    var transaction: String

    init(oid: UInt32, transaction: String) {
      self.oid = oid
      self.transaction = transaction
    }

    init?(_ text: Substring) {
      let parts = text.split(separator: ":")
      guard parts.count == 2, let oid = UInt32(parts[0]), UInt32(parts[1]) != nil else {
        return nil
      }
      self.init(oid: oid, transaction: String(parts[1]))
    }
  }

  private static let prefix = "exzo-makes"
  /// Attempts are few; a number that no server has given out by itself yet, but by rare chance.
  private static let oids: ClosedRange<UInt32> = 1_000_000_000...2_000_000_000

  // MARK: make

  /// Makes the database where there is none of its name.
  /// - Parameter options: of `CREATE DATABASE`, after the owner.
  /// - Returns: whether it was made now.
  func make(owner: String, options: String) throws -> Bool {
    if let oid = try oid() {
      if try note(of: oid) != nil { try limitSessions(to: -1) }
      return false
    }
    let transaction: String =
      try cluster.query("SELECT pg_current_xact_id()::xid::text AS xid").first?.value("xid") ?? ""
    // Before 15 a number cannot be asked for: after a crash in between, the database is nobody's, and stays.
    let asked = cluster.serverVersion >= 150_000 ? UInt32.random(in: Self.oids) : nil
    if let asked { try add(Note(oid: asked, transaction: transaction)) }
    do {
      try cluster.query(
        "CREATE DATABASE \(try SQL.identifier(name)) OWNER \(try SQL.identifier(owner))"
          + (asked.map { " OID \($0)" } ?? "") + options)
    } catch let error as PostgresError where ["42P04", "23505"].contains(error.sqlState) {
      // An attempt that was cut off was still making it, or somebody else has.
      return false
    }
    if asked == nil, let oid = try oid() { try add(Note(oid: oid, transaction: transaction)) }
    return true
  }

  private func oid() throws -> UInt32? {
    try cluster.query("SELECT oid FROM pg_database WHERE datname = $1", parameters: [.text(name)])
      .first?.value("oid")
  }

  private func notes() throws -> [Note] {
    let text: String? = try cluster.query(
      "SELECT shobj_description(oid, 'pg_authid') AS note FROM pg_roles WHERE rolname = $1",
      parameters: [.text(role.name)]
    ).first?.optional("note")
    guard let words = text?.split(separator: " "), words.first == Substring(Self.prefix) else {
      return []
    }
    return words.dropFirst().compactMap { Note($0) }
  }

  private func note(of oid: UInt32) throws -> Note? { try notes().first { $0.oid == oid } }

  private func add(_ note: Note) throws {
    let words = try (notes() + [note]).map { "\($0.oid):\($0.transaction)" }
    let text = ([Self.prefix] + words).joined(separator: " ")
    try cluster.query(
      "COMMENT ON ROLE \(try SQL.identifier(role.name)) IS \(try SQL.literal(text))")
  }

  /// Whether an attempt noted that it would make a database: then the role is not made anew.
  var isNoted: Bool { get throws { try !notes().isEmpty } }

  var isThere: Bool { get throws { try oid() != nil } }

  /// Whether the database that has the name was made by an attempt of this restore.
  var isMade: Bool { get throws { try oid().map { try note(of: $0) != nil } ?? false } }

  // MARK: remove

  /// Removes the database where this restore made it and nothing was put into it since.
  /// - Throws: ``DumpError`` that says why it stays.
  func removeUnused(_ connect: () throws -> PostgresConnection) throws {
    guard let oid = try oid(), let note = try note(of: oid) else { return }
    // Nobody enters while it is looked at; the platform's own sessions are not counted.
    try limitSessions(to: 0)
    do {
      try requireUnused(since: note.transaction, connect)
      try cluster.query("DROP DATABASE \(try SQL.identifier(name))")
    } catch {
      try limitSessions(to: -1)
      throw error
    }
  }

  private func limitSessions(to count: Int) throws {
    try cluster.query(
      "ALTER DATABASE \(try SQL.identifier(name)) CONNECTION LIMIT \(count)")
  }

  private func requireUnused(
    since transaction: String, _ connect: () throws -> PostgresConnection
  ) throws {
    let connection = try connect()
    defer { connection.close() }
    try requireAlone(connection)
    // Whatever is made, changed or granted in a database is a row of a catalog; what is copied with a template is older.
    // Statistics are written by the server itself.
    let tables = try connection.query(
      """
      SELECT format('SELECT %L AS name FROM ONLY %I.%I WHERE age(xmin) < age(''\(transaction)''::xid)',
        n.nspname || '.' || c.relname, n.nspname, c.relname) AS query
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND NOT c.relisshared
        AND c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data') ORDER BY c.oid
      """
    ).rows.map { try $0.value("query", as: String.self) }
    let found = try connection.query(tables.joined(separator: "\nUNION ALL ") + "\nLIMIT 1")
    guard let name: String = try found.first?.value("name") else { return }
    throw DumpError("something was put into it meanwhile ('\(name)')")
  }

  /// Sessions that ended are gone a moment later.
  private func requireAlone(_ connection: PostgresConnection) throws {
    var count = 0
    for _ in 0..<50 {
      count =
        try connection.query(
          """
          SELECT count(*)::text AS count FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type <> 'autovacuum worker'
          """
        ).first?.value("count") ?? 0
      if count == 0 { return }
      usleep(100_000)
    }
    throw DumpError("\(count) other sessions use it")
  }
}
