import Foundation
import ObjectStorage
import PostgresClient

/// A catalog as an object store holds it: read whole, checked, ready to be put into a database.
public struct RecoveredCatalog: Sendable {
  let base: JournalObject
  let changes: [JournalObject]
  /// When the newest of it was written; seconds since 1970.
  public let writtenAt: Double
  /// What passwords were sealed with, as digits.
  public let secretKey: String?
  private let migrations: [Migration]
  /// What was passed over, by name.
  public let warnings: [String]

  /// Reads the newest base and all changes after it.
  ///
  /// A base that is damaged is passed over where the one before it is whole: the changes since are kept
  /// with it.
  /// - Throws: ``CatalogError``: `.noCatalog`; `.damaged` naming the object that is damaged or missing;
  ///   `.tooNew` where a later version wrote the rows. The store's errors.
  public static func load(_ store: any ObjectStore) async throws -> RecoveredCatalog {
    try await load(store, known: Migration.all)
  }

  /// Reads a catalog that an installation may be writing meanwhile.
  ///
  /// That one deletes changes as it stores a base, also such as were listed here: what is missing or damaged is
  /// believed once it was found twice.
  /// - Throws: as ``load(_:)``.
  public static func loadWhileWritten(_ store: any ObjectStore) async throws -> RecoveredCatalog {
    do { return try await load(store) } catch let error as CatalogError where error.code == .damaged
    {
      return try await load(store)
    }
  }

  /// - Parameter known: the migrations that this version has.
  static func load(
    _ store: any ObjectStore, known: [Migration]
  ) async throws -> RecoveredCatalog {
    let bases = try await JournalKeys.list(JournalKeys.basePrefix, store)
    guard !bases.isEmpty else {
      throw CatalogError(
        .noCatalog,
        "recover the catalog: the object store holds none below '\(JournalKeys.basePrefix)'\n"
          + "HINT: name the store, with its prefix, that the lost installation used")
    }
    let listed = try await JournalKeys.list(JournalKeys.changesPrefix, store)
    var warnings: [String] = []
    var failure: CatalogError?
    for base in bases.reversed() {
      do {
        let object = try await read(base.key, store)
        return try await RecoveredCatalog(object, listed, store, warnings, known)
      } catch let error as CatalogError where error.code == .damaged {
        warnings.append(error.message)
        failure = failure ?? error
      }
    }
    throw failure ?? CatalogError(.damaged, "recover the catalog: no base can be read")
  }

  private init(
    _ base: JournalObject, _ listed: [(key: ObjectKey, number: ObjectNumber)],
    _ store: any ObjectStore, _ warnings: [String], _ known: [Migration]
  ) async throws {
    let (header, _) = try JournalHeader.split(base)
    try header.check(known, base)
    var time = header.madeAt
    var last = base.previous
    var found: [JournalObject] = []
    // A lower epoch's changes after the base were put by someone who had been taken over.
    for (key, number) in listed where number > base.previous && number.epoch >= base.number.epoch {
      let object = try await RecoveredCatalog.read(key, store)
      guard object.previous <= last else {
        throw CatalogError(
          .damaged,
          "recover the catalog: '\(JournalKeys.changes(object.previous))' is missing, which '\(key)' "
            + "goes on from\nHINT: recover from the second store, if there is one")
      }
      let (header, _) = try JournalHeader.split(object)
      try header.check(known, object)
      time = max(time, header.madeAt)
      last = number
      found.append(object)
    }
    self.base = base
    changes = found
    writtenAt = time
    secretKey = header.secretKey
    self.warnings = warnings
    migrations = known
  }

  private static func read(_ key: ObjectKey, _ store: any ObjectStore) async throws -> JournalObject
  {
    do {
      return try JournalObject(try await store.get(key, range: nil), key: key)
    } catch let error as ObjectStorageError where [.damaged, .notFound].contains(error.code) {
      throw CatalogError(
        .damaged,
        "recover the catalog: \(error)\nHINT: recover from the second store, if there is one")
    }
  }

  // MARK: Into a database

  /// Puts everything into an empty database, in one transaction, and notes `token` there.
  ///
  /// A database that holds the token already is left as it is, also after that recovery's end. The schema is
  /// that of the rows; opening the catalog brings it to today's.
  /// - Throws: ``CatalogError``: `.server` where the database holds somebody's accounts; `.tooNew` where a
  ///   later version made it; `.diskFull`; `.unavailable`.
  public func restore(into parameters: ConnectionParameters, token: String) async throws {
    try await put(into: parameters, token, isRehearsal: false)
  }

  /// Does what ``restore(into:token:)`` does and takes it back: what would stand against it is thrown, and
  /// the database is as it was.
  public func rehearse(in parameters: ConnectionParameters, token: String) async throws {
    try await put(into: parameters, token, isRehearsal: true)
  }

  private struct TakenBack: Error {}

  private func put(
    into parameters: ConnectionParameters, _ token: String, isRehearsal: Bool
  ) async throws {
    let pool = PostgresConnectionPool(parameters, size: 1, name: "recovery")
    do {
      try await pool.withConnection { connection in
        if try Self.holds(token, connection) { return }
        try Self.requireUnused(connection, parameters)
        do {
          try connection.withTransaction {
            try self.fill($0, token)
            if isRehearsal { throw TakenBack() }
          }
        } catch is TakenBack {}
      }
      await pool.close()
    } catch {
      await pool.close()
      if let error = error as? PostgresError {
        throw CatalogError(error, doing: "put the recovered catalog into the database")
      }
      throw error
    }
  }

  private static func holds(_ token: String, _ connection: PostgresConnection) throws -> Bool {
    let table = try connection.query("SELECT to_regclass('exzo.journal_state')").first?[0]
    guard table != nil else { return false }
    return try connection.query(
      """
      SELECT 1 FROM exzo.journal_state WHERE name IN ('recovery', 'recovered') AND value = $1
      """, parameters: [.text(token)]
    ).first != nil
  }

  /// Every installation has an account from its first start on.
  private static func requireUnused(
    _ connection: PostgresConnection, _ parameters: ConnectionParameters
  ) throws {
    let table = try connection.query("SELECT to_regclass('exzo.accounts')").first?[0]
    guard table != nil else { return }
    let accounts = try connection.query("SELECT count(*) FROM exzo.accounts").first?[0] ?? "?"
    guard accounts != "0" else { return }
    throw CatalogError(
      .server,
      "recover the catalog into \(parameters): it holds an installation's catalog already "
        + "(\(accounts) accounts), which is left as it is\n"
        + "HINT: name an empty database with --metadata-url, or leave --recover-from out to serve "
        + "what is there. If nobody needs it any more: DROP SCHEMA exzo CASCADE in that database")
  }

  private func fill(_ connection: PostgresConnection, _ token: String) throws {
    // No foreign keys, which follow another order than the rows, and no notes in the journal.
    try connection.execute(
      """
      SET LOCAL session_replication_role = replica;
      CREATE TEMPORARY TABLE import_lines (position bigint, line jsonb) ON COMMIT DROP
      """)
    let (header, lines) = try JournalHeader.split(base)
    try migrate(connection, header)
    // What came with the schema; what of that is wanted is in the base.
    try connection.execute("DELETE FROM exzo.journal_changes; DELETE FROM exzo.journal_state")
    for table in try JournalRows(connection: connection).tables() {
      try connection.execute("DELETE FROM exzo.\(try SQL.identifier(table))")
    }
    try load(lines, connection)
    try connection.execute(Self.insertBase)
    var sequences = header.sequences
    for object in changes {
      let (header, lines) = try JournalHeader.split(object)
      try migrate(connection, header)
      try connection.execute("TRUNCATE import_lines")
      try load(lines, connection)
      try connection.execute(Self.applyChanges)
      sequences.merge(header.sequences) { max($0, $1) }
    }
    for (name, value) in sequences {
      try connection.query(
        "SELECT setval(to_regclass('exzo.' || quote_ident($1)), $2::bigint)",
        parameters: [.text(name), .text(String(value))])
    }
    try CatalogTransaction(connection: connection).beginRecovery(token)
  }

  private func migrate(_ connection: PostgresConnection, _ header: JournalHeader) throws {
    let needed = migrations.filter { header.migrations.contains($0.number) }
    try Migration.applyWithin(needed, connection)
  }

  private func load(_ lines: [Substring], _ connection: PostgresConnection) throws {
    var position = 0
    while position < lines.count {
      let part = lines[position..<min(position + 1000, lines.count)]
      try connection.query(
        """
        INSERT INTO import_lines SELECT $1::bigint + n, value
        FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY AS e (value, n)
        """,
        parameters: [.text(String(position)), .text("[" + part.joined(separator: ",") + "]")])
      position += part.count
    }
  }

  private static let insertBase = """
    DO $body$
    DECLARE name text;
    BEGIN
      FOR name IN SELECT DISTINCT line ->> 'table' FROM import_lines LOOP
        EXECUTE format(
          'INSERT INTO exzo.%1$I OVERRIDING SYSTEM VALUE SELECT r.* FROM import_lines AS i,
           jsonb_populate_record(NULL::exzo.%1$I, i.line -> ''row'') AS r
           WHERE i.line ->> ''table'' = $1', name) USING name;
      END LOOP;
    END $body$
    """

  private static let applyChanges = """
    DO $body$
    DECLARE change record;
    BEGIN
      FOR change IN
        SELECT line ->> 'table' AS name, line ->> 'operation' AS operation, line -> 'key' AS key,
          line -> 'row' AS row
        FROM import_lines ORDER BY position
      LOOP
        EXECUTE format(
          'DELETE FROM exzo.%1$I AS t USING jsonb_populate_record(NULL::exzo.%1$I, $1) AS k WHERE %2$s',
          change.name,
          (SELECT string_agg(format('t.%1$I = k.%1$I', c), ' AND ')
           FROM jsonb_object_keys(change.key) AS c)) USING change.key;
        IF change.operation <> 'delete' THEN
          EXECUTE format(
            'INSERT INTO exzo.%1$I OVERRIDING SYSTEM VALUE
             SELECT (jsonb_populate_record(NULL::exzo.%1$I, $1)).*', change.name) USING change.row;
        END IF;
      END LOOP;
    END $body$
    """
}

extension JournalHeader {
  /// Refuses rows that need a schema which this version does not know.
  fileprivate func check(_ known: [Migration], _ object: JournalObject) throws {
    let unknown = Set(migrations).subtracting(known.map(\.number)).sorted()
    guard !unknown.isEmpty else { return }
    throw CatalogError(
      .tooNew,
      "recover the catalog: '\(object.key)' needs schema \(unknown), which a later version made\n"
        + "HINT: recover with that version of Exzo")
  }
}

extension CatalogTransaction {
  /// The mark of a recovery that is not finished: the token that ``RecoveredCatalog`` left.
  public func unfinishedRecovery() throws -> String? {
    try run("SELECT value FROM exzo.journal_state WHERE name = 'recovery'").first?[0]
  }

  package func beginRecovery(_ token: String) throws {
    try run(
      "INSERT INTO exzo.journal_state (name, value) VALUES ('recovery', $1)", .text(token))
  }

  /// Ends the recovery; its token stays, for a start that does not know of the end yet.
  public func finishRecovery() throws {
    try run("DELETE FROM exzo.journal_state WHERE name = 'recovered'")
    try run("UPDATE exzo.journal_state SET name = 'recovered' WHERE name = 'recovery'")
  }
}
