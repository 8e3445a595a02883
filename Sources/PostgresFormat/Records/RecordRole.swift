/// Whose effect a WAL record has when a moment is opened without replaying it.
///
/// Pages of relations are then made when they are read; stock crash recovery runs over the rest.
public enum RecordRole: Hashable, Sendable {
  /// Its whole effect is on pages of relations, or it has none: it becomes a no-op.
  case pages
  /// Its whole effect is on what the server itself replays: it stays as it is. Creating a file that
  /// exists and removing one that does not are harmless to replay, so records that do only that
  /// belong here too.
  case state
  /// A truncation: what it does to files and maps is shown by whoever shows the tree, so it becomes
  /// a no-op.
  case truncation
  /// Nothing is known that would make it safe: the tail must be replayed as it is.
  case hard(HardReason)
}

/// Why a tail must be replayed by the server as it is.
public enum HardReason: String, Hashable, Sendable, CaseIterable, Codable {
  /// `CREATE DATABASE … STRATEGY file_copy`, `ALTER DATABASE … SET TABLESPACE`: files appear that no
  /// record describes.
  case databaseFileCopy = "database_file_copy"
  /// A tablespace is made or dropped, or files lie in one that is not in the image.
  case tablespace
  /// A resource manager that an extension registered: only its own code knows what it does.
  case customResourceManager = "custom_resource_manager"
  /// A kind of record that is not on the list of its version.
  case unknownRecord = "unknown_record"
  /// A relation file or database directory was dropped and made again under the same name: replay
  /// of the drop would remove what the volume shows already.
  case madeAgain = "made_again"
}

/// The role of each kind of record of one major version.
///
/// Versions 14 and 16 to 18 differ as their headers say; only 15 was tested (see
/// ``PostgresMajor/isTested`` for the record formats themselves). Whatever is not listed is hard.
///
/// | Manager | Records | Role, and what its redo function does |
/// |---|---|---|
/// | XLOG | CHECKPOINT_SHUTDOWN, CHECKPOINT_ONLINE, CHECKPOINT_REDO (17) | state: counters, `pg_control` |
/// | | NOOP, NEXTOID, PARAMETER_CHANGE, FPW_CHANGE, RESTORE_POINT, BACKUP_END | state |
/// | | SWITCH, OVERWRITE_CONTRECORD, END_OF_RECOVERY | state: the reader itself depends on them |
/// | | FPI, FPI_FOR_HINT | pages: restore images, nothing else |
/// | Transaction | COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED | state: commit log, commit timestamps, origin, `pg_twophase`; dropped files are missing already, which `mdunlink` accepts |
/// | | PREPARE, ASSIGNMENT, INVALIDATIONS | state |
/// | Storage | CREATE | state: `mdcreate` with `isRedo` opens a file that exists |
/// | | TRUNCATE | truncation: shortens main fork and both maps, clears bits of the last map pages |
/// | CLOG, MultiXact, CommitTs | all | state: SLRU files |
/// | Database | CREATE_FILE_COPY | hard |
/// | | CREATE_WAL_LOG | state: directory and `PG_VERSION`, also where they exist; pages follow as FPI |
/// | | DROP | state: `rmtree` of a missing directory only warns |
/// | Tablespace | CREATE, DROP | hard |
/// | RelMap | UPDATE | state: `pg_filenode.map` |
/// | Standby | LOCK, RUNNING_XACTS, INVALIDATIONS | state: nothing in crash recovery |
/// | Heap2 | REWRITE | state: files of `pg_logical/mappings` |
/// | | PRUNE, VACUUM, FREEZE_PAGE (16: same; 17: three PRUNE_… of the same numbers), VISIBLE, MULTI_INSERT, LOCK_UPDATED | pages of heap and visibility map; free space map as a hint |
/// | | NEW_CID | pages: no effect, logical decoding only |
/// | Heap | INSERT, DELETE, UPDATE, HOT_UPDATE, CONFIRM, LOCK | pages, as above |
/// | | INPLACE | pages; 18 also sends invalidations, which nobody holds while recovery runs |
/// | | TRUNCATE | pages: no effect, logical decoding only; the files' change is in Storage records |
/// | Btree | all of 0x00 to 0xE0 | pages; REUSE_PAGE only cancels queries of a standby |
/// | Hash | all of 0x00 to 0xC0 | pages |
/// | Gin | 0x10 to 0x90 | pages, pending list and metapage included |
/// | Gist | PAGE_UPDATE, DELETE, PAGE_SPLIT, PAGE_DELETE, PAGE_REUSE, ASSIGN_LSN | pages; the last two have no effect |
/// | Sequence | LOG | pages |
/// | SPGist | 0x10 to 0x80 | pages |
/// | BRIN | 0x00 to 0x50, INIT_PAGE bit | pages |
/// | Generic | 0x00 | pages |
/// | ReplicationOrigin | SET, DROP | state |
/// | LogicalMessage | 0x00 | state: no effect |
/// | 128 and above | | hard |
///
/// Besides its redo function, replay moves the next transaction id past each record's own; a no-op
/// keeps that id. Records of unlogged relations' init forks are pages like others: at recovery's end
/// the server copies the init fork as the volume shows it.
///
/// Sources: `access/rmgrlist.h` and the redo functions of each manager in PostgreSQL 15.18;
/// `access/heapam_xlog.h` and `catalog/pg_control.h` of the other versions.
public struct RecordRoles: Sendable {
  /// By resource manager, then opcode; 16 entries for each of the built-in managers.
  private let roles: [RecordRole]

  private static let builtIn = 22

  /// The role of a record.
  @inline(__always)
  public func role(of record: WALRecordView) -> RecordRole {
    role(manager: record.resourceManager, info: record.info)
  }

  /// The role of records of a resource manager and `xl_info`.
  @inline(__always)
  func role(manager: ResourceManager, info: UInt8) -> RecordRole {
    let number = Int(manager.rawValue)
    guard number < RecordRoles.builtIn else { return .hard(.customResourceManager) }
    return roles[number << 4 | Int(info >> 4)]
  }

  init(_ major: PostgresMajor) {
    var table = [RecordRole](
      repeating: .hard(.unknownRecord), count: RecordRoles.builtIn << 4)
    func set(
      _ manager: ResourceManager, _ role: RecordRole, _ opcodes: [UInt8], flag: UInt8? = nil
    ) {
      for opcode in opcodes {
        table[Int(manager.rawValue) << 4 | Int(opcode >> 4)] = role
        guard let flag else { continue }
        table[Int(manager.rawValue) << 4 | Int((opcode | flag) >> 4)] = role
      }
    }
    RecordRoles.listServer(major, set)
    RecordRoles.listPages(set)
    roles = table
  }

  private typealias Entry = (ResourceManager, RecordRole, [UInt8], UInt8?) -> Void

  private static func listServer(_ major: PostgresMajor, _ set: Entry) {
    // The fourth argument is a flag among the opcode's bits that does not change the role.
    set(.xlog, .state, [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xD0], nil)
    if major >= .v17 { set(.xlog, .state, [XLOGOpcode.checkpointRedo], nil) }
    set(.xlog, .pages, [XLOGOpcode.image, XLOGOpcode.imageForHint], nil)
    set(
      .transaction, .state, [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60], TransactionOpcode.hasInfo)
    set(.storage, .state, [0x10], nil)
    set(.storage, .truncation, [0x20], nil)
    set(.commitLog, .state, [0x00, 0x10], nil)
    let databases = major.format.databaseOpcodes
    set(.database, .hard(.databaseFileCopy), [databases.createByFileCopy], nil)
    set(.database, .state, [databases.drop] + (databases.createByWAL.map { [$0] } ?? []), nil)
    set(.tablespace, .hard(.tablespace), [0x00, 0x10], nil)
    set(.multiXact, .state, [0x00, 0x10, 0x20, 0x30], nil)
    set(.relationMap, .state, [0x00], nil)
    set(.standby, .state, [0x00, 0x10, 0x20], nil)
    set(.commitTimestamp, .state, [0x00, 0x10], nil)
    set(.replicationOrigin, .state, [0x00, 0x10], nil)
    set(.logicalMessage, .state, [0x00], nil)
  }

  private static func listPages(_ set: Entry) {
    let heapInit: UInt8 = 0x80
    set(.heap2, .state, [0x00], nil)
    set(.heap2, .pages, [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70], heapInit)
    set(.heap, .pages, [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70], heapInit)
    set(.btree, .pages, opcodes(0x00...0xE0), nil)
    set(.hash, .pages, opcodes(0x00...0xC0), nil)
    set(.gin, .pages, opcodes(0x10...0x90), nil)
    set(.gist, .pages, [0x00, 0x10, 0x20, 0x30, 0x60, 0x70], nil)
    set(.sequence, .pages, [0x00], nil)
    set(.spGist, .pages, opcodes(0x10...0x80), nil)
    let brinInit: UInt8 = 0x80
    set(.brin, .pages, opcodes(0x00...0x50), brinInit)
    set(.generic, .pages, [0x00], nil)
  }

  private static func opcodes(_ range: ClosedRange<UInt8>) -> [UInt8] {
    range.filter { $0 & 0x0F == 0 }
  }
}

extension PostgresMajor {
  /// The role of each kind of this version's records.
  public var recordRoles: RecordRoles { RecordRoles.tables[self] ?? RecordRoles(self) }
}

extension RecordRoles {
  fileprivate static let tables = Dictionary(
    uniqueKeysWithValues: PostgresMajor.allCases.map { ($0, RecordRoles($0)) })
}

extension WALRecordView {
  /// Whether only the server's own replay of the record gives what it does; see ``RecordRole/hard(_:)``.
  public var isHard: Bool {
    switch resourceManager {
    // The bulk of all WAL, whose every opcode has a role.
    case .heap, .btree: return false
    default:
      if case .hard = format.recordRoles.role(of: self) { return true }
      return false
    }
  }
}
