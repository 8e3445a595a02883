/// What a path below the data directory is to PostgreSQL.
///
/// Source: `pg_basebackup`'s exclusions (`backend/replication/basebackup.c`), `access/transam/*.c`.
public enum DataFileKind: Hashable, Sendable {
  /// Pages of a relation, each with a header and (where enabled) a checksum.
  case relation(RelationFile)
  /// A segment of a simple LRU log: pages without header or checksum.
  case slru(SLRU, segment: UInt64)
  /// `global/pg_control`.
  case control
  /// `pg_filenode.map`: of a database, or of the shared relations (database 0).
  case relationMap(DatabaseDirectory)
  /// A file of `pg_twophase`: a prepared transaction, by its id (epoch included from 17 on).
  case preparedTransaction(UInt64)
  /// In or below `pg_wal`.
  case wal
  /// Belongs to the running server and means nothing to another start of it.
  case transient
  /// Belongs to this copy of the cluster and must not travel into a branch.
  case instance
  /// Everything else: configuration, `PG_VERSION`, statistics, …
  case other

  /// A simple LRU log and its directory.
  public enum SLRU: String, CaseIterable, Hashable, Sendable {
    case commitLog = "pg_xact"
    case multiXactOffsets = "pg_multixact/offsets"
    case multiXactMembers = "pg_multixact/members"
    case commitTimestamps = "pg_commit_ts"
    case subtransactions = "pg_subtrans"
    case notifications = "pg_notify"
    case serializable = "pg_serial"

    /// Emptied or rebuilt at every start of the server.
    public var isTransient: Bool {
      switch self {
      case .subtransactions, .notifications, .serializable: true
      default: false
      }
    }
  }

  /// Classifies a path. Directories and unknown names are `.other`; never fails.
  /// - Parameter path: relative to the data directory, without a leading slash.
  public init(path: String) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard let top = parts.first else {
      self = .other
      return
    }
    switch top {
    case "base": self = DataFileKind.inBase(parts)
    case "global": self = DataFileKind.inGlobal(parts)
    case "pg_tblspc": self = DataFileKind.inTablespace(parts)
    case "pg_wal": self = .wal
    case "pg_stat_tmp", "pg_dynshmem", "pg_snapshots": self = .transient
    case "pg_replslot": self = .instance
    case "pg_twophase": self = DataFileKind.inTwoPhase(parts)
    default:
      self = DataFileKind.slru(path) ?? DataFileKind.atTop(path)
    }
  }

  private static let transientFiles: Set<String> = [
    "postmaster.pid", "postmaster.opts", "current_logfiles.tmp", "pg_internal.init",
  ]
  private static let instanceFiles: Set<String> = [
    "standby.signal", "recovery.signal", "promote", "backup_label", "backup_label.old",
    "tablespace_map", "tablespace_map.old", "backup_manifest", "logrotate",
  ]

  private static func atTop(_ path: String) -> DataFileKind {
    if transientFiles.contains(path) { return .transient }
    return instanceFiles.contains(path) ? .instance : .other
  }

  private static func inBase(_ parts: [Substring]) -> DataFileKind {
    guard parts.count >= 2 else { return .other }
    if parts[1].hasPrefix("pgsql_tmp") { return .transient }
    guard let database = oid(parts[1]), parts.count == 3 else { return .other }
    return inDatabase(
      parts[2],
      DatabaseDirectory(tablespace: PostgresLayout.defaultTablespace, database: database))
  }

  private static func inGlobal(_ parts: [Substring]) -> DataFileKind {
    guard parts.count == 2 else { return .other }
    if parts[1] == "pg_control" { return .control }
    return inDatabase(
      parts[1], DatabaseDirectory(tablespace: PostgresLayout.globalTablespace, database: 0))
  }

  /// `pg_tblspc/<oid>/PG_<major>_<catalog>/<database>/<file>`.
  private static func inTablespace(_ parts: [Substring]) -> DataFileKind {
    guard parts.count >= 4, let tablespace = oid(parts[1]), parts[2].hasPrefix("PG_") else {
      return .other
    }
    if parts[3].hasPrefix("pgsql_tmp") { return .transient }
    guard let database = oid(parts[3]), parts.count == 5 else { return .other }
    return inDatabase(parts[4], DatabaseDirectory(tablespace: tablespace, database: database))
  }

  private static func inDatabase(
    _ name: Substring, _ directory: DatabaseDirectory
  ) -> DataFileKind {
    if name == "pg_filenode.map" { return .relationMap(directory) }
    if name.hasPrefix("pg_internal.init") { return .transient }
    let file = RelationFile(
      name: name, tablespace: directory.tablespace, database: directory.database)
    return file.map { .relation($0) } ?? .other
  }

  private static func inTwoPhase(_ parts: [Substring]) -> DataFileKind {
    guard parts.count == 2, parts[1].utf8.count == 8 || parts[1].utf8.count == 16,
      let xid = upperHex(parts[1])
    else { return .other }
    return .preparedTransaction(xid)
  }

  private static func slru(_ path: String) -> DataFileKind? {
    guard let slash = path.lastIndex(of: "/"), let slru = SLRU(rawValue: String(path[..<slash]))
    else { return nil }
    let name = path[path.index(after: slash)...]
    guard (4...6).contains(name.utf8.count) || name.utf8.count == 15, let segment = upperHex(name)
    else { return nil }
    return .slru(slru, segment: segment)
  }

  private static func upperHex(_ text: Substring) -> UInt64? {
    guard text.utf8.allSatisfy({ (48...57).contains($0) || (65...70).contains($0) }) else {
      return nil
    }
    return UInt64(text, radix: 16)
  }

  private static func oid(_ text: Substring) -> UInt32? {
    guard let first = text.utf8.first, (49...57).contains(first),
      text.utf8.allSatisfy({ (48...57).contains($0) })
    else { return nil }
    return UInt32(text)
  }
}

extension DataFileKind {
  /// Whether the file is made of whole 8 KiB pages that PostgreSQL writes one at a time.
  public var isPaged: Bool {
    switch self {
    case .relation, .slru: true
    default: false
    }
  }

  /// Whether the file belongs to the running server alone: it needs no durability, stays out of
  /// history and is not carried into a branch. Temporary relations are such files too.
  public var isTransient: Bool {
    switch self {
    case .transient: true
    case .slru(let slru, _): slru.isTransient
    case .relation(let file): file.temporaryBackend != nil
    default: false
    }
  }
}
