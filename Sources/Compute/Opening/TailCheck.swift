import History
import PostgresFormat
import Volume

/// Reads a tail record by record before a server is let near it.
///
/// Every record's CRC and link is verified, and every block it refers to must be in the image or
/// come into
/// being in the tail. Crash recovery does neither: it takes a bad record for the end of WAL and
/// recreates
/// missing files.
struct TailCheck: Sendable {
  /// What the tail held, once it was read to its end.
  struct Summary: Sendable {
    /// Start of the last record; `nil` where the tail has none.
    var lastRecordStart: LSN?
    /// The highest settings that records of the tail note.
    var parameters: ParameterChange?
    var records = 0
    /// Blocks of the image that replay will read, each once.
    var wanted: [BlockAddress] = []
    /// Relations whose init fork the tail makes.
    var newlyUnlogged: Set<RelFileLocator> = []
  }

  /// What records are taken into; a class, so that the reader's closure changes it in place. One
  /// thread
  /// at a time: whoever holds the check.
  private final class Findings: @unchecked Sendable {
    var lengths: RelationLengths
    var summary = Summary()
    init(lengths: RelationLengths) { self.lengths = lengths }
  }

  private var reader: WALStreamReader
  private let findings: Findings

  init(format: PostgresMajor, redo: LSN, segmentSize: UInt64, image: FileTreeSnapshot) {
    reader = WALStreamReader(format: format, startingAtRecord: redo, segmentSize: segmentSize)
    findings = Findings(lengths: RelationLengths(tree: image))
  }

  /// Takes the next bytes, which start where the last ones ended; bytes below the redo LSN are
  /// passed over.
  mutating func append(_ bytes: UnsafeRawBufferPointer, at lsn: LSN) throws {
    var bytes = bytes
    var lsn = lsn
    if lsn < reader.position {
      let skipped = min(UInt64(bytes.count), reader.position - lsn)
      bytes = UnsafeRawBufferPointer(rebasing: bytes[Int(skipped)...])
      lsn = lsn + skipped
    }
    guard !bytes.isEmpty else { return }
    let findings = findings
    let outcome = try reader.feed(bytes, at: lsn) { record in
      findings.summary.records += 1
      findings.summary.lastRecordStart = record.startLSN
      try Self.observe(record, findings)
    }
    if case .endOfWAL(let end) = outcome {
      throw ComputeError(
        .damagedHistory, "read the tail: zeros at \(end), where WAL should go on",
        hint: "a chunk of this line is wrong; run 'exzo verify'")
    }
  }

  /// - Parameter target: the moment; the tail must end with a whole record there.
  func finish(target: LSN) throws -> Summary {
    guard reader.lastRecordEnd == target else {
      throw ComputeError(
        .damagedHistory,
        "read the tail: the last whole record ends at \(reader.lastRecordEnd), expected \(target)",
        hint: "a chunk of this line is wrong; run 'exzo verify'")
    }
    try findings.lengths.check()
    findings.summary.wanted = findings.lengths.wanted
    return findings.summary
  }

  private static func observe(_ record: WALRecordView, _ findings: Findings) throws {
    for block in record.blockReferences {
      // Redo extends the maps where they are short (RBM_ZERO_ON_ERROR), so they never lack a page.
      let isMap = block.fork == .visibilityMap || block.fork == .freeSpaceMap
      findings.lengths.reference(
        RelationFork(locator: block.locator, fork: block.fork), block: block.block,
        initializes: block.startsPage || isMap, at: record.startLSN)
    }
    if let change = try record.parameterChange() {
      findings.summary.parameters = change.raised(to: findings.summary.parameters)
    }
    switch record.resourceManager {
    case .transaction, .storage, .database: break
    default: return
    }
    switch try record.content() {
    case .transactionEnd(let end):
      for locator in end.droppedRelations { findings.lengths.drop(locator) }
    case .fileCreate(let locator, let fork):
      findings.lengths.create(RelationFork(locator: locator, fork: fork))
      if fork == .initialization { findings.summary.newlyUnlogged.insert(locator) }
    case .fileTruncate(let locator, let count, let forks):
      if forks.contains(.main) { findings.lengths.truncate(locator, fork: .main, to: count) }
    case .databaseCreateByFileCopy(let database, _):
      findings.lengths.copyDatabase(database.database)
    case .databaseDrop(let database, _): findings.lengths.dropDatabase(database)
    default: break
    }
  }
}
