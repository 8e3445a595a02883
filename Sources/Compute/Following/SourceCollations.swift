import Foundation
import PostgresClient

/// Whether text sorts on this machine as on a source. Indexes are copied as they are: where their text is in another
/// order than this machine's, queries through them miss rows, and nothing says so.
///
/// Not compared: collations of ICU, and those that single columns name; PostgreSQL warns of them where they are used.
struct SourceCollations {
  /// By database, what PostgreSQL noted when the database was made or last refreshed.
  var versions: [(database: String, version: String)]

  /// Those whose order comes from the C library; `C` and `POSIX` are the same everywhere and have no version.
  init(_ connection: PostgresConnection) throws {
    versions = []
    // Earlier versions note none.
    guard connection.serverVersion >= 150_000 else { return }
    versions = try connection.query(
      """
      SELECT datname, datcollversion FROM pg_database
      WHERE datlocprovider = 'c' AND datcollversion IS NOT NULL AND datallowconn
        AND datconnlimit <> -2 AND datname NOT IN ('template0', 'template1') ORDER BY oid
      """
    ).rows.compactMap { row -> (database: String, version: String)? in
      guard let database = row[0], let version = row[1] else { return nil }
      return (database: database, version: version)
    }
  }

  init(versions: [(database: String, version: String)]) { self.versions = versions }

  /// Of this machine's C library, as PostgreSQL tells it (`gnu_get_libc_version`): such as `2.36`.
  static func localVersion() -> String? {
    var buffer = [CChar](repeating: 0, count: 64)
    let length = confstr(Int32(_CS_GNU_LIBC_VERSION), &buffer, buffer.count)
    guard length > 1, length <= buffer.count else { return nil }
    let bytes = buffer[..<(length - 1)].map { UInt8(bitPattern: $0) }
    return String(decoding: bytes, as: UTF8.self).split(separator: " ").last.map { String($0) }
  }

  /// What to tell of databases that another version sorted, and what to do about them.
  func notes(local: String?) -> [String] {
    guard let local else { return [] }
    var databases: [String: [String]] = [:]
    for (database, version) in versions where version != local {
      databases[version, default: []].append("'\(database)'")
    }
    return databases.sorted { $0.key < $1.key }.map { version, names in
      "text in \(names.joined(separator: ", ")) is sorted as C library \(version) does, this machine has \(local): "
        + "indexes on text may be in another order here. On a branch: REINDEX DATABASE, then "
        + "ALTER DATABASE … REFRESH COLLATION VERSION"
    }
  }
}
