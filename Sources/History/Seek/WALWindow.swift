import ObjectStorage
import PostgresFormat

/// Reads single records of a chain from the parts that they lie in. For one thread; blocks.
struct WALWindow {
  let format: PostgresMajor
  private let segmentSize: UInt64
  private let snapshot: ChainSnapshot
  private let cache: ChainCache
  /// The part read last, and the WAL of it that counts.
  private var part: WALPart?
  private var range = LSN(0)..<LSN(0)
  private var partStart = LSN(0)

  init(_ snapshot: ChainSnapshot, _ cache: ChainCache) throws {
    let description = snapshot.chain.description
    guard let format = PostgresMajor(rawValue: description.major) else {
      throw HistoryError(
        .badWAL, operation: "read WAL of line \(description.id)",
        detail: "unknown PostgreSQL version \(description.major)")
    }
    self.format = format
    segmentSize = UInt64(description.segmentSize)
    self.snapshot = snapshot
    self.cache = cache
  }

  /// Appends a record's bytes, page headers left out; checks neither CRC nor structure.
  /// - Returns: where the next record may begin.
  mutating func appendRecord(at start: LSN, to bytes: inout [UInt8]) throws -> LSN {
    let total = try length(ofRecordAt: start)
    // Nothing is reserved: a damaged length would ask for too much, and an array that is told its capacity record by
    // record is moved with each one.
    var position = start
    var left = total
    while true {
      let page = UInt64(PostgresLayout.walBlockSize)
      let count = min(left, Int(page - position.rawValue % page))
      try copy(at: position, count: count, to: &bytes)
      position = position + UInt64(count)
      left -= count
      if left == 0 { break }
      position = try pageHeader(at: position, remaining: left, of: start)
    }
    return LSN((position.rawValue + 7) & ~7)
  }

  /// Where the next record may begin after the one at `start`; `nil` where its length does not lie
  /// below `limit`.
  mutating func end(ofRecordAt start: LSN, limit: LSN) throws -> LSN? {
    guard start + 4 <= limit else { return nil }
    var left = UInt64(try length(ofRecordAt: start))
    var position = start
    let page = UInt64(PostgresLayout.walBlockSize)
    while true {
      let count = min(left, page - position.rawValue % page)
      position = position + count
      left -= count
      if left == 0 { return LSN((position.rawValue + 7) & ~7) }
      position = position + UInt64(headerLength(at: position))
    }
  }

  /// Reads the records of a range from a record's start on; one that is not whole at the end is
  /// left out.
  mutating func forEachRecord(
    from: LSN, to: LSN, _ body: (WALRecordView) throws -> Void
  ) throws {
    var reader = WALStreamReader(
      format: format, startingAtRecord: from, segmentSize: segmentSize)
    var position = from
    while position < to {
      let start = position
      let (count, outcome) = try withRun(at: start) { run in
        let part = UnsafeRawBufferPointer(rebasing: run.prefix(Int(min(to - start, 1 << 30))))
        return (part.count, try reader.feed(part, at: start, body))
      }
      if case .endOfWAL(let end) = outcome { throw bad(end, "zeros where a record should be") }
      position = position + UInt64(count)
    }
  }

  // MARK: Bytes

  private mutating func length(ofRecordAt start: LSN) throws -> Int {
    var total: UInt32 = 0
    try withUnsafeMutableBytes(of: &total) { try copy(at: start, to: $0) }
    let length = Int(UInt32(littleEndian: total))
    guard (WALRecordView.headerLength...WALRecordView.maximumLength).contains(length) else {
      throw bad(start, "a record of \(length) bytes")
    }
    return length
  }

  private func headerLength(at page: LSN) -> Int {
    page.rawValue & (segmentSize - 1) == 0 ? WALPageHeader.longLength : WALPageHeader.shortLength
  }

  /// Passes over the header of a page that a record goes on in.
  private mutating func pageHeader(at page: LSN, remaining: Int, of record: LSN) throws -> LSN {
    let length = headerLength(at: page)
    let header = try withUnsafeTemporaryAllocation(byteCount: length, alignment: 8) { bytes in
      try copy(at: page, to: bytes)
      return WALPageHeader(UnsafeRawBufferPointer(bytes))
    }
    guard let header, header.address == page, header.flags.contains(.startsWithContinuation),
      Int(header.remainingLength) == remaining
    else { throw bad(record, "the page at \(page) does not go on with \(remaining) bytes of it") }
    return page + UInt64(length)
  }

  private mutating func copy(at lsn: LSN, count: Int, to bytes: inout [UInt8]) throws {
    var done = 0
    while done < count {
      done += try withRun(at: lsn + UInt64(done)) { run in
        let part = run.prefix(count - done)
        bytes.append(contentsOf: part)
        return part.count
      }
    }
  }

  private mutating func copy(at lsn: LSN, to target: UnsafeMutableRawBufferPointer) throws {
    var done = 0
    while done < target.count {
      done += try withRun(at: lsn + UInt64(done)) { run in
        let part = UnsafeRawBufferPointer(rebasing: run.prefix(target.count - done))
        UnsafeMutableRawBufferPointer(rebasing: target[done...]).copyMemory(from: part)
        return part.count
      }
    }
  }

  /// The bytes from `lsn` on that lie in one part: at least one.
  private mutating func withRun<Result>(
    at lsn: LSN, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) throws -> Result {
    if !range.contains(lsn) { try load(lsn) }
    let memory = part!.memory
    let bytes = UnsafeRawBufferPointer(
      rebasing: memory[Int(lsn - partStart)..<Int(range.upperBound - partStart)])
    return try withExtendedLifetime(part) { try body(bytes) }
  }

  private mutating func load(_ lsn: LSN) throws {
    guard let place = snapshot.place(holding: lsn) else {
      throw HistoryError(
        .gap, operation: "read WAL of line \(snapshot.chain.description.id)", lsn: lsn,
        detail: "a record reaches past the WAL that is there")
    }
    let chunk = try snapshot.stored(place)
    let (number, whole) = chunk.map.part(holding: lsn)
    part = try chunk.walPart(number, cache)
    partStart = whole.lowerBound
    range = whole.clamped(to: snapshot.pieces[place].range)
  }

  func bad(_ lsn: LSN, _ detail: String, cause: (any Error)? = nil) -> HistoryError {
    HistoryError(
      .badWAL, operation: "read WAL record",
      key: snapshot.place(holding: lsn).map { snapshot.key(ofPiece: $0).name }, lsn: lsn,
      detail: detail, cause: cause)
  }
}
