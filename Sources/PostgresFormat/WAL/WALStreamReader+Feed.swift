extension WALStreamReader {
  /// Called with each record; see ``WALRecordView`` for how long it may be used.
  public typealias Body = (WALRecordView) throws -> Void

  /// No WAL lies above this; it keeps the arithmetic on positions from overflowing.
  static let highestLSN = LSN(1 << 62)

  /// Takes the next bytes of the log and calls `body` with each record that they complete.
  ///
  /// Allocates nothing per record, but for records longer than any before that do not lie in one
  /// piece.
  /// - Parameters:
  ///   - bytes: any number of bytes; a record may be spread over any number of calls.
  ///   - lsn: where they lie; must be ``position``.
  /// - Throws: ``FormatError`` for damage, with the LSN of the page or record; code `.gap` when
  ///   `lsn`
  ///   is not ``position``, which leaves the reader as it was. Or what `body` throws: then the
  ///   bytes
  ///   from ``position`` on were not used and may be fed again.
  public mutating func feed(
    _ bytes: UnsafeRawBufferPointer, at lsn: LSN, _ body: Body
  ) throws -> WALReadOutcome {
    if case .failed(let failure) = phase { throw failure }
    if case .ended(let end) = phase { return .endOfWAL(at: end) }
    guard lsn == position else {
      throw FormatError(.gap, lsn: position, expected: "\(position)", found: "\(lsn)")
    }
    guard let base = bytes.baseAddress, !bytes.isEmpty else { return .needsBytes }
    guard lsn <= WALStreamReader.highestLSN else {
      throw FormatError(
        .gap, lsn: lsn, expected: "at most \(WALStreamReader.highestLSN)", found: "\(lsn)")
    }
    var blocks: [BlockReference] = []
    swap(&blocks, &scratch)
    defer { swap(&blocks, &scratch) }
    try blocks.withUnsafeMutableBufferPointer { buffer in
      let parser = WALRecordParser(table: format.format, blocks: buffer)
      try consume(base, base + bytes.count, parser, body)
    }
    if case .ended(let end) = phase { return .endOfWAL(at: end) }
    return .needsBytes
  }

  /// As ``feed(_:at:_:)`` for bytes in an array.
  public mutating func feed(
    _ bytes: [UInt8], at lsn: LSN, _ body: Body
  ) throws -> WALReadOutcome {
    try bytes.withUnsafeBytes { try feed($0, at: lsn, body) }
  }

  private mutating func consume(
    _ start: UnsafeRawPointer, _ end: UnsafeRawPointer, _ parser: WALRecordParser, _ body: Body
  ) throws {
    let pageSize = PostgresLayout.walBlockSize
    var cursor = start
    while cursor < end {
      if position < skipUntil {
        let count = min(end - cursor, Int(skipUntil - position))
        position.rawValue += UInt64(count)
        cursor += count
        continue
      }
      let inPage = Int(position.rawValue & UInt64(pageSize - 1))
      if inPage == 0 || !partialHeader.isEmpty {
        cursor += try pageHeader(cursor, end - cursor)
      } else {
        let count = min(end - cursor, pageSize - inPage)
        if case .assembling = phase {
          cursor += try assemble(cursor, count, parser, body)
        } else {
          cursor += try wholeRecords(cursor, count, parser, body)
        }
      }
      if case .ended = phase { return }
    }
  }

  /// Reads the records that lie whole within `count` bytes of one page, and puts the beginning of
  /// the
  /// one that does not aside. Returns the number of bytes used.
  private mutating func wholeRecords(
    _ cursor: UnsafeRawPointer, _ count: Int, _ parser: WALRecordParser, _ body: Body
  ) throws -> Int {
    var used = 0
    while count - used >= 4 {
      let base = cursor + used
      let total = Int(base.u32(0))
      if total == 0 {
        phase = .ended(position)
        return used
      }
      if total > count - used { break }
      let start = position
      try checkHeader(base, total, at: start)
      let end = recordEnd(base, start + UInt64(total))
      let record = try verified(base, total, start, end, parser)
      let step = min((total + 7) & ~7, count - used)
      position = start + UInt64(step)
      used += step
      finish(start, end)
      try body(record)
      if position < end { return used }
    }
    guard used < count else { return used }
    phase = .assembling
    assembly.start = position
    return used + (try assemble(cursor + used, count - used, parser, body))
  }

  /// Adds to the record being put together as many of `count` bytes as it wants.
  private mutating func assemble(
    _ cursor: UnsafeRawPointer, _ count: Int, _ parser: WALRecordParser, _ body: Body
  ) throws -> Int {
    var used = 0
    while used < count {
      let wanted = (assembly.total ?? 4) - assembly.bytes.count
      let step = min(wanted, count - used)
      assembly.bytes.append(contentsOf: UnsafeRawBufferPointer(start: cursor + used, count: step))
      used += step
      position.rawValue += UInt64(step)
      if try !examineAssembly() { continue }
      if case .assembling = phase { try finishAssembly(parser, body) }
      break
    }
    return used
  }

  /// Judges what has been put together so far; true when the record is whole or the log has ended.
  private mutating func examineAssembly() throws -> Bool {
    let count = assembly.bytes.count
    if assembly.total == nil, count == 4 {
      let total = Int(assembly.bytes.withUnsafeBytes { $0.baseAddress!.u32(0) })
      if total == 0 {
        phase = .ended(assembly.start)
        return true
      }
      try checkLength(total, at: assembly.start)
      assembly.total = total
    }
    guard let total = assembly.total else { return false }
    if !assembly.isHeaderChecked, count >= WALRecordView.headerLength {
      // The array is passed on rather than read inside its own access to `self`.
      let bytes = assembly.bytes
      try bytes.withUnsafeBytes { try checkHeader($0.baseAddress!, total, at: assembly.start) }
      assembly.isHeaderChecked = true
    }
    return count == total
  }

  private mutating func finishAssembly(_ parser: WALRecordParser, _ body: Body) throws {
    var whole = Assembly()
    swap(&whole, &assembly)
    defer {
      whole.clear()
      swap(&whole, &assembly)
    }
    try whole.bytes.withUnsafeBytes { bytes in
      let base = bytes.baseAddress!
      let end = recordEnd(base, position)
      let record = try verified(base, bytes.count, whole.start, end, parser)
      phase = .betweenRecords
      finish(whole.start, end)
      try body(record)
    }
  }

  private mutating func finish(_ start: LSN, _ end: LSN) {
    lastRecordStart = start
    lastRecordEnd = end
    skipUntil = end
  }
}
