extension WALStreamReader {
  /// Remembers the damage, so that nothing is read past it.
  mutating func fail(_ error: FormatError) -> FormatError {
    phase = .failed(error)
    return error
  }

  @inline(__always)
  mutating func checkLength(_ total: Int, at lsn: LSN) throws {
    if total < WALRecordView.headerLength || total > WALRecordView.maximumLength {
      throw fail(
        FormatError(
          .recordLength, lsn: lsn,
          expected: "\(WALRecordView.headerLength) to \(WALRecordView.maximumLength)",
          found: "\(total)"))
    }
  }

  /// As `ValidXLogRecordHeader`.
  @inline(__always)
  mutating func checkHeader(_ base: UnsafeRawPointer, _ total: Int, at lsn: LSN) throws {
    try checkLength(total, at: lsn)
    let manager = ResourceManager(rawValue: base.u8(17))
    if !manager.isKnown {
      throw fail(
        FormatError(
          .resourceManager, lsn: lsn, expected: "0 to 21 or 128 to 255",
          found: "\(manager.rawValue)"))
    }
    let previous = LSN(base.u64(8))
    if let last = lastRecordStart {
      if previous != last {
        throw fail(
          FormatError(.previousLink, lsn: lsn, expected: "\(last)", found: "\(previous)"))
      }
    } else if previous >= lsn {
      throw fail(
        FormatError(.previousLink, lsn: lsn, expected: "below \(lsn)", found: "\(previous)"))
    }
  }

  /// Where the record whose bytes end at `end` lets the next begin. A switch takes its segment's
  /// rest; the bytes are read before the CRC is verified, which bounds but does not trust them.
  @inline(__always)
  func recordEnd(_ base: UnsafeRawPointer, _ end: LSN) -> LSN {
    let aligned = LSN((end.rawValue + 7) & ~7)
    guard base.u8(17) == ResourceManager.xlog.rawValue,
      base.u8(16) & 0xF0 == XLOGOpcode.segmentSwitch
    else { return aligned }
    return LSN((aligned.rawValue + segmentSize - 1) & ~(segmentSize - 1))
  }

  @inline(__always)
  mutating func verified(
    _ base: UnsafeRawPointer, _ total: Int, _ start: LSN, _ end: LSN, _ parser: WALRecordParser
  ) throws -> WALRecordView {
    do {
      try WALRecordParser.verifyCRC(base, count: total, at: start)
      let record = try parser.parse(base, count: total, start: start, end: end)
      if let overwritten = overwrittenLSN { try checkOverwrite(record, of: overwritten) }
      return record
    } catch let error as FormatError {
      throw fail(error)
    }
  }

  private mutating func checkOverwrite(_ record: WALRecordView, of lsn: LSN) throws {
    guard record.resourceManager == .xlog, record.opcode == XLOGOpcode.overwriteContinuation,
      record.mainData.count >= 8, LSN(record.mainData.baseAddress!.u64(0)) == lsn
    else {
      throw FormatError(
        .overwrittenRecord, lsn: record.startLSN, expected: "a record that overwrites \(lsn)",
        found: "\(record.resourceManager.name) \(hex(record.opcode))")
    }
    overwrittenLSN = nil
  }
}

/// Page headers.
extension WALStreamReader {
  /// Takes the header of the page at `position`, or as much of it as there is. Returns the bytes
  /// used.
  mutating func pageHeader(_ cursor: UnsafeRawPointer, _ available: Int) throws -> Int {
    let page = position.pageStart
    let isFirst = page.rawValue & (segmentSize - 1) == 0
    let length = isFirst ? WALPageHeader.longLength : WALPageHeader.shortLength
    let step = min(length - partialHeader.count, available)
    position.rawValue += UInt64(step)
    if step == length {
      try accept(UnsafeRawBufferPointer(start: cursor, count: length), page, isFirst)
      return step
    }
    partialHeader.append(contentsOf: UnsafeRawBufferPointer(start: cursor, count: step))
    guard partialHeader.count == length else { return step }
    let header = partialHeader
    partialHeader.removeAll(keepingCapacity: true)
    try header.withUnsafeBytes { try accept($0, page, isFirst) }
    return step
  }

  private mutating func accept(
    _ bytes: UnsafeRawBufferPointer, _ page: LSN, _ isFirst: Bool
  ) throws {
    if bytes.allSatisfy({ $0 == 0 }) {
      var end = page
      if case .assembling = phase { end = assembly.start }
      phase = .ended(end)
      return
    }
    guard let header = WALPageHeader(bytes) else {
      throw fail(
        FormatError(.pageFlags, lsn: page, expected: "a short header", found: "a long one"))
    }
    let expectation = WALPageHeader.Expectation(
      magic: format.format.walPageMagic, address: page, isFirstOfSegment: isFirst,
      segmentSize: segmentSize, timeline: expectedTimeline, minimumTimeline: timeline,
      systemIdentifier: systemIdentifier)
    do {
      try header.validate(expectation)
      timeline = header.timeline
      try follow(header, page)
    } catch let error as FormatError {
      throw fail(error)
    }
  }

  /// Decides what the bytes after a valid header belong to.
  private mutating func follow(_ header: WALPageHeader, _ page: LSN) throws {
    let continues = header.flags.contains(.startsWithContinuation)
    switch phase {
    case .searching:
      let room = page + UInt64(PostgresLayout.walBlockSize) - position
      guard continues else { return begin(at: page) }
      if UInt64(header.remainingLength) > room {
        skipUntil = position + room
      } else {
        begin(at: (position + UInt64(header.remainingLength)).alignedUp)
      }
    case .assembling where header.flags.contains(.overwritesContinuation):
      overwrittenLSN = assembly.start
      assembly.clear()
      phase = .betweenRecords
    case .assembling:
      let remaining = (assembly.total ?? 0) - assembly.bytes.count
      guard continues else {
        throw FormatError(
          .continuation, lsn: page, expected: "the rest of the record at \(assembly.start)",
          found: "flags \(hex(header.flags.rawValue))")
      }
      guard Int(header.remainingLength) == remaining else {
        throw FormatError(
          .remainingLength, lsn: page, expected: "\(remaining)", found: "\(header.remainingLength)")
      }
    default:
      guard !continues else {
        throw FormatError(
          .continuation, lsn: page, expected: "the beginning of a record",
          found: "the rest of one")
      }
    }
  }

  private mutating func begin(at boundary: LSN) {
    phase = .betweenRecords
    skipUntil = boundary
    lastRecordEnd = boundary
  }
}
