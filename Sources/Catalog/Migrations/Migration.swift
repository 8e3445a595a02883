import PostgresClient

/// One numbered change of the schema. What was released is never edited; a later one corrects it.
struct Migration: Sendable {
  var number: Int
  var title: String
  var sql: String

  static let all: [Migration] = [
    Migration(number: 1, title: "first schema", sql: schema001),
    Migration(number: 2, title: "restore, snapshots, schedules", sql: schema002),
    Migration(number: 3, title: "accounts, retention, metering", sql: schema003),
    Migration(number: 4, title: "dumps", sql: schema004),
    Migration(number: 5, title: "journal, proofs, alerts", sql: schema005),
    Migration(number: 6, title: "Console, support tickets", sql: schema006),
    Migration(number: 7, title: "attached servers", sql: schema007),
    Migration(number: 8, title: "tombstones of roles and databases", sql: schema008),
    Migration(number: 9, title: "sizes of dumps", sql: schema009),
  ]

  /// Serializes migrators of one database; any constant of ours will do.
  private static let advisoryLock: Int64 = 0x65787a6f_63617401

  /// Brings the schema up to date: one transaction for all that is missing, so that a crash leaves
  /// the old one.
  ///
  /// - Returns: the numbers that were applied.
  /// - Throws: ``CatalogError`` `.tooNew` where a later version has been here.
  @discardableResult
  static func apply(
    _ migrations: [Migration] = all, to connection: PostgresConnection
  ) throws -> [Int] {
    try connection.withTransaction { connection in
      let applied = try applyWithin(migrations, connection)
      if try connection.query("SELECT to_regclass('exzo.journal_changes')").first?[0] != nil {
        try JournalTriggers.install(connection)
      }
      return applied
    }
  }

  /// Refuses a schema of another version than this one's, and leaves it as it is.
  /// - Throws: ``CatalogError`` `.tooNew` or `.tooOld`.
  static func requireCurrent(_ connection: PostgresConnection) throws {
    let newest = all.map(\.number).max() ?? 0
    let rows = try connection.query("SELECT number FROM exzo.migrations").rows
    let current = try rows.map { try $0.value("number", as: Int.self) }.max() ?? 0
    guard current != newest else { return }
    throw CatalogError(
      current > newest ? .tooNew : .tooOld,
      "open metadata: its schema is \(current), this version's is \(newest). "
        + "HINT: use the exzo that serve runs, or stop serve first")
  }

  /// As ``apply(_:to:)``, as a part of the caller's transaction and without triggers.
  @discardableResult
  static func applyWithin(
    _ migrations: [Migration], _ connection: PostgresConnection
  ) throws -> [Int] {
    try connection.query("SELECT pg_advisory_xact_lock(\(advisoryLock))")
    try connection.execute(
      """
      CREATE SCHEMA IF NOT EXISTS exzo;
      CREATE TABLE IF NOT EXISTS exzo.migrations (
        number int PRIMARY KEY, title text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now());
      """)
    let present = Set(
      try connection.query("SELECT number FROM exzo.migrations").rows
        .map { try $0.value("number", as: Int.self) })
    let current = present.max() ?? 0
    let newest = migrations.map(\.number).max() ?? 0
    guard current <= newest else {
      throw CatalogError(
        .tooNew,
        "open metadata: schema \(current) was made by a later version, this one knows \(newest)")
    }
    var applied: [Int] = []
    for migration in migrations.sorted(by: { $0.number < $1.number })
    where !present.contains(migration.number) {
      try connection.execute(migration.sql)
      try connection.query(
        "INSERT INTO exzo.migrations (number, title) VALUES ($1, $2)",
        parameters: [.init(migration.number), .init(migration.title)])
      applied.append(migration.number)
    }
    return applied
  }
}
