import PostgresFormat
import Volume

/// Reads, checks and rewrites the tail of a moment that is opened without replay.
///
/// *Purpose.* One pass over the tail's bytes that gives the WAL on which the server starts (page-only
/// records as no-ops) and the tree at the moment. It does on this path what ``TailCheck`` does where
/// the server replays: every record's CRC and link is verified, and a block that the tail changes must
/// be in the image, come into being in the tail, or go away later.
///
/// *Concurrency.* One thread at a time: whoever holds it.
struct RewrittenTail: Sendable {
  /// How the moment can be opened.
  enum Outcome: Sendable {
    /// By the rewritten tail and pages made on demand.
    case lazy(Summary)
    /// Only by replay: the tail must be written anew, as it is.
    case replay(TailRewriter.Fallback)
  }

  struct Summary: Sendable {
    /// Start of the last record; `nil` where the tail has none.
    var lastRecordStart: LSN?
    /// The highest settings that records of the tail note.
    var parameters: ParameterChange?
    var counts: TailRewriter.Counts
    var moment: MomentTree
  }

  /// A class, so that the reader's closure changes the tree in place.
  private final class Findings: @unchecked Sendable {
    var tree: TailTree
    var parameters: ParameterChange?
    init(tree: TailTree) { self.tree = tree }

    func observe(_ record: WALRecordView, _ role: RecordRole) throws {
      try tree.observe(record, role)
      if let change = try record.parameterChange() { parameters = change.raised(to: parameters) }
    }
  }

  private var rewriter: TailRewriter
  private let findings: Findings

  /// Blocks named for reading ahead, at most.
  static let recentBlockLimit = 8192

  /// - Parameters:
  ///   - image: the tree of the keyframe, without what stays behind.
  ///   - isForReading: the server stays in recovery.
  init(
    format: PostgresMajor, redo: LSN, segmentSize: UInt64, image: FileTreeSnapshot,
    isForReading: Bool = false
  ) {
    rewriter = TailRewriter(
      format: format, redo: redo, segmentSize: segmentSize,
      scope: isForReading ? .pagesAndLocks : .pages)
    findings = Findings(
      tree: TailTree(image: image, format: format, recentLimit: RewrittenTail.recentBlockLimit))
  }

  /// Why this tail must be replayed; once set, the rest need not be read.
  var fallback: TailRewriter.Fallback? { rewriter.fallback ?? findings.tree.fallback }

  /// Takes the next bytes, which start where the last ones ended, and rewrites them in place; those
  /// below the redo LSN are passed over.
  ///
  /// - Returns: bytes to write over ones that were handed over before; nearly always none.
  /// - Throws: ``FormatError``, ``ComputeError`` `.damagedHistory`.
  mutating func append(
    _ bytes: UnsafeMutableRawBufferPointer, at lsn: LSN
  ) throws -> [TailRewriter.Patch] {
    let findings = findings
    do {
      return try rewriter.append(bytes, at: lsn) { try findings.observe($0, $1) }
    } catch let error as FormatError where error.code == .gap {
      throw ComputeError(
        .damagedHistory, "read the tail: \(error)",
        hint: "a chunk of this line is wrong; run 'exzo verify'")
    }
  }

  /// - Parameters:
  ///   - target: the moment; the tail must end with a whole record there.
  ///   - modified: the time that new and changed files carry; nanoseconds since 1970.
  /// - Throws: ``ComputeError`` `.damagedHistory`.
  func finish(target: LSN, modified: Int64) throws -> Outcome {
    if let fallback { return .replay(fallback) }
    guard rewriter.lastRecordEnd == target else {
      throw ComputeError(
        .damagedHistory,
        "read the tail: the last whole record ends at \(rewriter.lastRecordEnd), expected \(target)",
        hint: "a chunk of this line is wrong; run 'exzo verify'")
    }
    guard let moment = try findings.tree.finish(modified: modified) else {
      return .replay(
        findings.tree.fallback ?? TailRewriter.Fallback(reason: .madeAgain, lsn: target))
    }
    return .lazy(
      Summary(
        lastRecordStart: rewriter.lastRecordStart, parameters: findings.parameters,
        counts: rewriter.counts, moment: moment))
  }
}
