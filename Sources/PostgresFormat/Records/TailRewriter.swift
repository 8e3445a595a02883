import CCRC32C

/// Turns the records of a tail that change only pages of relations into no-ops, in place, as the
/// bytes come in.
///
/// **Purpose.** Stock crash recovery over the rewritten tail replays what is the server's own and
/// touches no page of a relation.
///
/// **State and invariants.**
/// 1. Nothing moves: no length, position or previous link changes, nor a byte below the redo LSN,
///    nor a page header.
/// 2. A record that is rewritten keeps its length, transaction id and previous link; it becomes
///    `XLOG_NOOP`, its body one chunk of main data whose content is left as it was, its CRC right.
/// 3. A record is rewritten once it is whole and verified. Where it began in bytes that were handed
///    over before, its first bytes (at most ``longestHead``) come as a ``Patch``. So memory does not
///    depend on the length of records beyond what ``WALStreamReader`` keeps of one.
/// 4. From the first hard record on nothing is rewritten and ``fallback`` says why: the tail must
///    then be written anew, as it is.
///
/// **Concurrency.** A value. **Not guarded here.** Whether the tail reaches its moment: compare
/// ``lastRecordEnd``.
///
/// Source: `XLogRecordAssemble` in `access/transam/xloginsert.c`, `DecodeXLogRecord`.
public struct TailRewriter: Sendable {
  /// Bytes to write over ones that were handed over before.
  public struct Patch: Hashable, Sendable {
    public var lsn: LSN
    public var bytes: [UInt8]
  }

  /// Records of the tail by role.
  public struct Counts: Hashable, Sendable {
    public var pages = 0
    public var state = 0
    public var truncations = 0
    public var hard = 0
    public var total: Int { pages + state + truncations + hard }

    public init() {}
  }

  /// The first record that makes this tail one for the server to replay as it is.
  public struct Fallback: Hashable, Sendable {
    public var reason: HardReason
    /// Where the record begins.
    public var lsn: LSN

    public init(reason: HardReason, lsn: LSN) {
      self.reason = reason
      self.lsn = lsn
    }
  }

  /// Which records become no-ops.
  public enum Scope: Hashable, Sendable {
    /// Those that change only pages of relations.
    case pages
    /// And locks, for a server that stays in recovery: it would hold those of transactions that have
    /// not ended at the moment for good.
    case pagesAndLocks
    /// Locks alone: the server replays the rest. No record is hard.
    case locks
  }

  /// Record header and the longest header of a chunk of main data.
  public static let longestHead = WALRecordView.headerLength + 5

  private var reader: WALStreamReader
  private let roles: RecordRoles
  private let scope: Scope
  public private(set) var counts = Counts()
  /// Set once a hard record was met.
  public private(set) var fallback: Fallback?
  /// Start of the last whole record; `nil` where there is none yet.
  public private(set) var lastRecordStart: LSN?
  /// End of the last whole record; at first the redo LSN.
  public var lastRecordEnd: LSN { reader.lastRecordEnd }

  /// - Parameters:
  ///   - redo: where the tail's first record begins.
  ///   - segmentSize: must satisfy ``WALSegment/isValidSize(_:)``.
  public init(
    format: PostgresMajor, redo: LSN, segmentSize: UInt64 = WALSegment.defaultSize,
    scope: Scope = .pages
  ) {
    self.scope = scope
    reader = WALStreamReader(format: format, startingAtRecord: redo, segmentSize: segmentSize)
    roles = format.recordRoles
  }

  /// Takes the next bytes and rewrites them in place.
  ///
  /// - Parameters:
  ///   - bytes: any number of bytes that start where the last ones ended. Bytes below the redo LSN
  ///     are left as they are.
  ///   - observe: called with each whole record and its role, in order, before it is rewritten.
  /// - Returns: what must be changed in bytes handed over before; nearly always empty.
  /// - Throws: ``FormatError`` for damage, zeros where WAL should go on included (code `.gap`), or
  ///   what `observe` throws. The bytes are then not to be used.
  public mutating func append(
    _ bytes: UnsafeMutableRawBufferPointer, at lsn: LSN,
    observing observe: (WALRecordView, RecordRole) throws -> Void = { _, _ in }
  ) throws -> [Patch] {
    let skipped = reader.position > lsn ? min(UInt64(bytes.count), reader.position - lsn) : 0
    guard skipped < bytes.count else { return [] }
    let fed = UnsafeRawBufferPointer(rebasing: bytes[Int(skipped)...])
    // The reader is inside `self` and in use while the closure runs.
    var pass = Pass(
      target: RecordTarget(run: bytes, start: lsn, segmentSize: reader.segmentSize),
      counts: counts, fallback: fallback, scope: scope)
    let roles = roles
    let outcome = try reader.feed(fed, at: lsn + skipped) { record in
      let role = roles.role(of: record)
      try observe(record, role)
      pass.take(record, role)
    }
    counts = pass.counts
    fallback = pass.fallback
    lastRecordStart = pass.lastRecordStart ?? lastRecordStart
    if case .endOfWAL(let end) = outcome {
      throw FormatError(.gap, lsn: end, expected: "WAL", found: "zeros")
    }
    return pass.target.patches
  }

  /// What one call of ``append(_:at:observing:)`` collects.
  private struct Pass {
    var target: RecordTarget
    var counts: Counts
    var fallback: Fallback?
    let scope: Scope
    var lastRecordStart: LSN?

    /// `XLOG_STANDBY_LOCK` of `storage/standbydefs.h`.
    private static let lock: UInt8 = 0x00

    @inline(__always)
    mutating func take(_ record: WALRecordView, _ role: RecordRole) {
      lastRecordStart = record.startLSN
      if scope != .pages, record.resourceManager == .standby, record.info & 0xf0 == Self.lock {
        counts.state += 1
        if fallback == nil { target.makeNoop(record) }
        return
      }
      guard scope != .locks else {
        counts.state += 1
        return
      }
      switch role {
      case .state:
        counts.state += 1
        return
      case .hard(let reason):
        counts.hard += 1
        if fallback == nil { fallback = Fallback(reason: reason, lsn: record.startLSN) }
        return
      case .pages: counts.pages += 1
      case .truncation: counts.truncations += 1
      }
      if fallback == nil { target.makeNoop(record) }
    }
  }
}

/// The bytes of a run in which records are rewritten.
private struct RecordTarget {
  let run: UnsafeMutableRawBufferPointer
  let start: LSN
  let segmentSize: UInt64
  var patches: [TailRewriter.Patch] = []

  /// Header and chunk header of a no-op, with room to spare; 32 bytes.
  private typealias Head = (UInt64, UInt64, UInt64, UInt64)

  private static let idDataShort: UInt8 = 255
  private static let idDataLong: UInt8 = 254
  /// The longest main data that a short chunk header can tell.
  private static let longestShort = 255

  init(run: UnsafeMutableRawBufferPointer, start: LSN, segmentSize: UInt64) {
    self.run = run
    self.start = start
    self.segmentSize = segmentSize
  }

  mutating func makeNoop(_ record: WALRecordView) {
    let source = record.bytes.baseAddress!
    let headerLength = WALRecordView.headerLength
    var head: Head = (0, 0, 0, 0)
    withUnsafeMutableBytes(of: &head) { head in
      let base = head.baseAddress!
      base.copyMemory(from: source, byteCount: 16)  // length, transaction id, previous link
      base.storeBytes(of: XLOGOpcode.noop, toByteOffset: 16, as: UInt8.self)
      base.storeBytes(of: ResourceManager.xlog.rawValue, toByteOffset: 17, as: UInt8.self)
      let payload = record.totalLength - headerLength
      let chunk = RecordTarget.writeChunkHeader(base + headerLength, payload: payload)
      var crc = exzo_crc32c(0, base + headerLength, chunk)
      crc = exzo_crc32c(crc, source + headerLength + chunk, payload - chunk)
      crc = exzo_crc32c(crc, base, 20)
      base.storeBytes(of: crc.littleEndian, toByteOffset: 20, as: UInt32.self)
      place(UnsafeRawBufferPointer(start: base, count: headerLength + chunk), at: record.startLSN)
    }
  }

  /// Writes the header of a chunk of main data that fills `payload` bytes, itself included, and
  /// returns its length.
  ///
  /// A verified record has no payload of one byte: no header fits into it. Without payload there is
  /// no chunk, as in `XLOG_SWITCH`.
  private static func writeChunkHeader(_ base: UnsafeMutableRawPointer, payload: Int) -> Int {
    if payload == 0 { return 0 }
    precondition(payload >= 2, "a verified record whose payload is one byte")
    if payload - 2 <= longestShort {
      base.storeBytes(of: idDataShort, as: UInt8.self)
      base.storeBytes(of: UInt8(payload - 2), toByteOffset: 1, as: UInt8.self)
      return 2
    }
    base.storeBytes(of: idDataLong, as: UInt8.self)
    base.storeBytes(of: UInt32(payload - 5).littleEndian, toByteOffset: 1, as: UInt32.self)
    return 5
  }

  /// Writes a record's first bytes where they lie, page headers passed over.
  private mutating func place(_ bytes: UnsafeRawBufferPointer, at lsn: LSN) {
    let pageSize = UInt64(PostgresLayout.walBlockSize)
    var position = lsn.rawValue
    var done = 0
    while done < bytes.count {
      if position & (pageSize - 1) == 0 {
        let isFirst = position & (segmentSize - 1) == 0
        position += UInt64(isFirst ? WALPageHeader.longLength : WALPageHeader.shortLength)
      }
      let room = Int(pageSize - position & (pageSize - 1))
      let count = min(bytes.count - done, room)
      store(UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]), at: LSN(position))
      position += UInt64(count)
      done += count
    }
  }

  /// Writes what lies in this run into it and the rest, which lies before it, into a patch.
  private mutating func store(_ piece: UnsafeRawBufferPointer, at lsn: LSN) {
    let before = lsn < start ? min(piece.count, Int(start - lsn)) : 0
    if before > 0 {
      patches.append(TailRewriter.Patch(lsn: lsn, bytes: Array(piece[..<before])))
    }
    guard before < piece.count else { return }
    let offset = Int(lsn + UInt64(before) - start)
    UnsafeMutableRawBufferPointer(rebasing: run[offset..<offset + piece.count - before])
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: piece[before...]))
  }
}
