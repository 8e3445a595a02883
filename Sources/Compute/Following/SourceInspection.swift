import Foundation
import PostgresClient
import PostgresFormat

/// Asks a server what it is, and whether a line can follow it. Changes nothing there; blocks its thread.
public struct SourceInspection {
  let parameters: ConnectionParameters
  let major: Int

  /// - Parameters:
  ///   - parameters: with the address pinned.
  ///   - major: PostgreSQL's version that this installation runs.
  public init(_ parameters: ConnectionParameters, major: Int) {
    self.parameters = parameters
    self.major = major
  }

  /// Settings that make no program run and no file be read: how text, numbers and times are shown and sorted.
  static let carriedSettings = [
    "DateStyle", "IntervalStyle", "TimeZone", "bytea_output", "default_text_search_config",
    "default_transaction_isolation", "extra_float_digits", "lc_monetary", "lc_numeric", "lc_time",
    "standard_conforming_strings", "xmlbinary", "xmloption",
  ]

  /// - Throws: ``ComputeError`` `.environment` saying why it cannot be followed; ``PostgresError``.
  public func run() throws -> SourceFacts {
    let connection = try PostgresConnection(parameters)
    defer { connection.close() }
    let version = connection.serverVersion
    guard version / 10_000 == major else {
      throw refusal(
        "it runs PostgreSQL \(version / 10_000), this installation \(major)",
        "pages and WAL are followed as they are: use 'exzo import' for another version")
    }
    try connection.execute("SET search_path = pg_catalog; SET statement_timeout = '60s'")
    var facts = try read(connection, version)
    try checkLocales(connection)
    let notes = try SourceCollations(connection).notes(local: SourceCollations.localVersion())
    facts.notes = notes.isEmpty ? nil : notes
    return facts
  }

  private func read(_ connection: PostgresConnection, _ version: Int) throws -> SourceFacts {
    guard
      let row = try connection.query(
        """
        SELECT pg_is_in_recovery() AS is_standby,
          (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may,
          (SELECT rolname FROM pg_roles WHERE oid = 10) AS bootstrap,
          (SELECT system_identifier::text FROM pg_control_system()) AS system,
          (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS segment,
          current_setting('data_checksums') = 'on' AS checksums,
          current_setting('wal_level') AS level,
          current_setting('block_size') || '/' || current_setting('wal_block_size') AS blocks,
          (SELECT count(*) FROM pg_tablespace WHERE oid NOT IN (1663, 1664))::text AS spaces,
          (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint::text FROM pg_database
            WHERE has_database_privilege(oid, 'CONNECT')) AS bytes,
          (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text AS started
        """
      ).first
    else { throw refusal("it does not say what it is", "") }
    try check(row)
    let bootstrap = try bootstrapRole(row)
    let databases = try databases(connection)
    var facts = SourceFacts(
      systemIdentifier: UInt64(try row.value("system", as: String.self)) ?? 0,
      serverVersion: "\(version / 10_000).\(version % 10_000)", major: version / 10_000,
      segmentSize: UInt64(try row.value("segment", as: String.self)) ?? 0,
      hasChecksums: try row.value("checksums"), bootstrapRole: bootstrap,
      databases: databases, settings: try settings(connection),
      bytes: Int(try row.value("bytes", as: String.self)) ?? 0)
    facts.startedAt = Int(try row.value("started", as: String.self))
    facts.followers = try followers(connection)
    return facts
  }

  private func bootstrapRole(_ row: PostgresRow) throws -> String {
    let name = try row.value("bootstrap", as: String.self)
    let plain = name.unicodeScalars.allSatisfy {
      $0.isASCII && ($0.properties.isAlphabetic || "0123456789_-.$".unicodeScalars.contains($0))
    }
    guard plain, !name.isEmpty else {
      throw refusal(
        "its first role is called '\(name)'", "rename it to letters, digits and underscores")
    }
    return name
  }

  private func databases(_ connection: PostgresConnection) throws -> [String] {
    let names = try connection.query(
      """
      SELECT datname FROM pg_database
      WHERE datallowconn AND datconnlimit <> -2 AND datname NOT IN ('template0', 'template1') ORDER BY oid
      """
    ).rows.compactMap { $0[0] }
    guard names.contains("postgres") else {
      throw refusal(
        "it has no database 'postgres'", "create it there: branches are administered through it")
    }
    return names
  }

  /// Slots that installations like this one made, and whether somebody streams from each.
  private func followers(_ connection: PostgresConnection) throws -> [String: Bool] {
    let rows = try connection.query(
      """
      SELECT slot_name, active FROM pg_replication_slots
      WHERE slot_type = 'physical' AND starts_with(slot_name::text, 'exzo_')
      """
    ).rows
    return Dictionary(rows.map { ($0[0] ?? "", $0[1] == "t") }) { $0 || $1 }
  }

  private func check(_ row: PostgresRow) throws {
    guard try !row.value("is_standby", as: Bool.self) else {
      throw refusal("it is a standby", "attach its primary")
    }
    guard try row.value("may", as: Bool.self) else {
      throw refusal(
        "role '\(parameters.user)' may not replicate",
        "ALTER ROLE … REPLICATION, and allow it database 'replication' in pg_hba.conf")
    }
    guard try row.value("level", as: String.self) != "minimal" else {
      throw refusal("its wal_level is minimal", "set wal_level = replica and restart it")
    }
    let blocks = try row.value("blocks", as: String.self)
    guard blocks == "8192/8192" else {
      throw refusal(
        "its pages have \(blocks) bytes", "only servers with pages of 8 KiB are followed")
    }
    guard try row.value("spaces", as: String.self) == "0" else {
      throw refusal(
        "it has tablespaces of its own",
        "move what is in them into pg_default and drop them: they are not supported")
    }
  }

  private func settings(_ connection: PostgresConnection) throws -> [String: String] {
    let list = try Self.carriedSettings.map { try SQL.literal($0) }.joined(separator: ", ")
    let rows = try connection.query(
      "SELECT name, reset_val FROM pg_settings WHERE name IN (\(list)) AND reset_val <> boot_val"
    ).rows
    return Dictionary(rows.map { ($0[0] ?? "", $0[1] ?? "") }) { $1 }
  }

  /// A database whose locale this machine does not have could not be connected to.
  private func checkLocales(_ connection: PostgresConnection) throws {
    let names = try connection.query(
      """
      SELECT datcollate FROM pg_database UNION SELECT datctype FROM pg_database
      UNION SELECT setting FROM pg_settings WHERE name IN ('lc_monetary', 'lc_numeric', 'lc_time')
      """
    ).rows.compactMap { $0[0] }
    let mask = [LC_CTYPE, LC_COLLATE, LC_MONETARY, LC_NUMERIC, LC_TIME]
      .reduce(Int32(0)) { $0 | 1 << Int32($1) }
    let missing = names.filter { name in
      guard let locale = newlocale(mask, name, nil) else { return true }
      freelocale(locale)
      return false
    }
    guard missing.isEmpty else {
      throw refusal(
        "its locale \(missing.sorted().map { "'\($0)'" }.joined(separator: ", ")) is not on this machine",
        "make it with locale-gen (or install locales-all), then attach again")
    }
  }

  private func refusal(_ why: String, _ hint: String) -> ComputeError {
    ComputeError(
      .environment, "attach '\(parameters.host):\(parameters.port)': \(why)", hint: hint)
  }
}
