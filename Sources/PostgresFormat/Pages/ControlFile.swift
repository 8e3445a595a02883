import CCRC32C

/// `global/pg_control`: what a cluster is and where its recovery starts.
///
/// The file's own bytes are kept, so that a patch changes nothing but the fields named and the CRC.
/// Source: `ControlFileData` in `catalog/pg_control.h`.
public struct ControlFile: Hashable, Sendable {
  /// The file as it is on disk: 8192 bytes.
  public private(set) var bytes: [UInt8]
  public let major: PostgresMajor

  /// `DBState`.
  public enum State: UInt32, Hashable, Sendable {
    case startingUp = 0
    case shutDown = 1
    case shutDownInRecovery = 2
    case shuttingDown = 3
    case inCrashRecovery = 4
    case inArchiveRecovery = 5
    case inProduction = 6
  }

  /// Reads and verifies a control file.
  ///
  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - major: the version of the cluster, as `PG_VERSION` names it; versions 14 to 17 share one
  ///     control file version and cannot be told apart by it.
  /// - Throws: ``FormatError`` with code `.fileLength`, `.controlVersion`, `.controlCRC` or
  ///   `.controlContent`.
  public init(_ bytes: [UInt8], major: PostgresMajor) throws {
    self.bytes = bytes
    self.major = major
    guard bytes.count == PostgresLayout.controlFileSize else {
      throw FormatError(
        .fileLength, expected: "\(PostgresLayout.controlFileSize)", found: "\(bytes.count)")
    }
    let table = major.format
    let version = u32(Offset.controlVersion)
    guard version == table.controlVersion else {
      throw FormatError(
        .controlVersion, offset: Offset.controlVersion, expected: "\(table.controlVersion)",
        found: "\(version)")
    }
    let stored = u32(table.controlCRCOffset)
    guard stored == computedCRC else {
      throw FormatError(
        .controlCRC, offset: table.controlCRCOffset, expected: hex(stored),
        found: hex(computedCRC))
    }
    guard State(rawValue: u32(Offset.state)) != nil else {
      throw FormatError(
        .controlContent, offset: Offset.state, expected: "a state", found: "\(u32(Offset.state))")
    }
    try checkSizes()
  }

  /// The sizes that everything else in this module takes for granted.
  private func checkSizes() throws {
    let fixed = [
      (Offset.blockSize, UInt32(PostgresLayout.blockSize)),
      (Offset.blocksPerSegment, PostgresLayout.blocksPerSegment),
      (Offset.walBlockSize, UInt32(PostgresLayout.walBlockSize)),
    ]
    for (offset, expected) in fixed where u32(offset) != expected {
      throw FormatError(
        .controlContent, offset: offset, expected: "\(expected)", found: "\(u32(offset))")
    }
    guard WALSegment.isValidSize(walSegmentSize) else {
      throw FormatError(
        .controlContent, offset: Offset.walSegmentSize, expected: "a WAL segment size",
        found: "\(walSegmentSize)")
    }
  }
}

/// Fields that say what the cluster is.
extension ControlFile {
  /// Changes the identifier and the CRC, nothing else.
  public var systemIdentifier: UInt64 {
    get { u64(Offset.systemIdentifier) }
    set {
      store(newValue, at: Offset.systemIdentifier)
      seal()
    }
  }

  /// Changes the state and the CRC, nothing else.
  public var state: State {
    // The initialiser refused other values, and the setter can only write these.
    get { State(rawValue: u32(Offset.state))! }
    set {
      store(newValue.rawValue, at: Offset.state)
      seal()
    }
  }

  /// Makes recovery start as from a base backup's label: at a checkpoint, and as after a power cut. Takes
  /// away what tells of recoveries and backups in progress; changes nothing else but the CRC.
  /// - Parameters:
  ///   - checkpoint: where the checkpoint's record begins.
  ///   - redo: where replay starts.
  public mutating func restart(checkpoint: LSN, redo: LSN, timeline: TimelineID) {
    store(State.inProduction.rawValue, at: Offset.state)
    store(checkpoint.rawValue, at: Offset.checkpoint)
    store(redo.rawValue, at: Offset.checkpointCopy)
    store(timeline.rawValue, at: Offset.checkpointCopy + 8)
    store(UInt64(0), at: Offset.minRecoveryPoint)
    store(UInt32(0), at: Offset.minRecoveryPointTimeline)
    store(UInt64(0), at: Offset.backupStart)
    store(UInt64(0), at: Offset.backupEnd)
    store(UInt8(0), at: Offset.backupEndRequired)
    seal()
  }

  public var controlVersion: UInt32 { u32(Offset.controlVersion) }
  public var catalogVersion: UInt32 { u32(Offset.catalogVersion) }
  /// When the file was last written: seconds since the Unix epoch.
  public var time: Int64 { Int64(bitPattern: u64(Offset.time)) }
  /// Where the last checkpoint's record begins.
  public var checkpointLSN: LSN { LSN(u64(Offset.checkpoint)) }
  /// A copy of that record's body.
  public var checkpoint: Checkpoint {
    bytes.withUnsafeBytes { Checkpoint(at: $0.baseAddress! + Offset.checkpointCopy) }
  }
  public var unloggedLSN: LSN { LSN(u64(Offset.unloggedLSN)) }
  public var minRecoveryPoint: LSN { LSN(u64(Offset.minRecoveryPoint)) }
  public var minRecoveryPointTimeline: TimelineID {
    TimelineID(u32(Offset.minRecoveryPointTimeline))
  }
  public var backupStartPoint: LSN { LSN(u64(Offset.backupStart)) }
  public var backupEndPoint: LSN { LSN(u64(Offset.backupEnd)) }
  public var isBackupEndRequired: Bool { bytes[Offset.backupEndRequired] != 0 }
}

/// Settings and sizes.
extension ControlFile {
  /// The settings in force when they were last written to WAL.
  public var parameters: ParameterChange {
    ParameterChange(
      maxConnections: i32(Offset.maxConnections), maxWorkerProcesses: i32(Offset.maxWorkers),
      maxWALSenders: i32(Offset.maxSenders), maxPreparedTransactions: i32(Offset.maxPrepared),
      maxLocksPerTransaction: i32(Offset.maxLocks), walLevel: i32(Offset.walLevel),
      walLogHints: bytes[Offset.walLogHints] != 0,
      trackCommitTimestamp: bytes[Offset.trackCommitTimestamp] != 0)
  }

  public var blockSize: Int { Int(u32(Offset.blockSize)) }
  /// Pages of a full segment of a relation.
  public var blocksPerSegment: UInt32 { u32(Offset.blocksPerSegment) }
  public var walBlockSize: Int { Int(u32(Offset.walBlockSize)) }
  public var walSegmentSize: UInt64 { UInt64(u32(Offset.walSegmentSize)) }
  /// 0 when pages carry no checksums.
  public var dataChecksumVersion: UInt32 { u32(Offset.dataChecksumVersion) }
  public var hasDataChecksums: Bool { dataChecksumVersion != 0 }
}

extension ControlFile {
  /// Where fields lie, the same in each of 14 to 18; 18 adds one after the checksum version.
  enum Offset {
    static let systemIdentifier = 0
    static let controlVersion = 8
    static let catalogVersion = 12
    static let state = 16
    static let time = 24
    static let checkpoint = 32
    static let checkpointCopy = 40
    static let unloggedLSN = 128
    static let minRecoveryPoint = 136
    static let minRecoveryPointTimeline = 144
    static let backupStart = 152
    static let backupEnd = 160
    static let backupEndRequired = 168
    static let walLevel = 172
    static let walLogHints = 176
    static let maxConnections = 180
    static let maxWorkers = 184
    static let maxSenders = 188
    static let maxPrepared = 192
    static let maxLocks = 196
    static let trackCommitTimestamp = 200
    static let blockSize = 216
    static let blocksPerSegment = 220
    static let walBlockSize = 224
    static let walSegmentSize = 228
    static let dataChecksumVersion = 252
  }

  private func u32(_ offset: Int) -> UInt32 {
    bytes.withUnsafeBytes { $0.baseAddress!.u32(offset) }
  }

  private func u64(_ offset: Int) -> UInt64 {
    bytes.withUnsafeBytes { $0.baseAddress!.u64(offset) }
  }

  private func i32(_ offset: Int) -> Int32 { Int32(bitPattern: u32(offset)) }

  private mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    bytes.withUnsafeMutableBytes {
      $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
  }

  private var computedCRC: UInt32 {
    bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, major.format.controlCRCOffset) }
  }

  private mutating func seal() { store(computedCRC, at: major.format.controlCRCOffset) }
}
