import DurableIO

/// Reads the log's valid prefix at open and cuts off what a crash left behind it.
///
/// *Crash.* Unsynced records may be missing, torn or out of order; the prefix ends at the first of
/// them, and the rest is
/// removed before anything new is appended. A gap before a record that says that what is missing
/// had been durable is
/// not a crash's doing: that is ``VolumeError`` `.damaged`, and nothing is changed.
struct LogReplay {
  let directory: String
  let files: any FileSystem
  let seed: UInt32

  /// One record, where its payload lies, and where the next record begins.
  struct Item {
    var record: LogRecord
    var payload: UnsafeRawBufferPointer
    var segment: LogSegment
    var payloadOffset: UInt64
    var end: LogPosition
  }

  /// Where the log goes on.
  struct End: Equatable {
    var lastSegment: UInt32
    var nextSequence: UInt64
  }

  /// Replays from `start`, whose record is `sequence`, and cuts the torn tail off durably.
  func run(
    from start: LogPosition, sequence: UInt64, _ body: (Item) throws -> Void
  ) throws -> End {
    let numbers = try files.list(directory, operation: "list page log")
      .compactMap(LogSegment.number(ofName:)).sorted()
    for number in numbers where number < start.segment {
      try files.unlink(LogSegment.path(directory, number), operation: "remove old log segment")
    }
    let live = numbers.filter { $0 >= start.segment }
    var cursor = start
    var expected = sequence
    for (index, number) in live.enumerated() {
      let segment = try open(number)
      let reader = try SegmentReader(segment)
      if number != start.segment || start.offset == 0 {
        guard number == cursor.segment + 1 || (index == 0 && number == start.segment),
          let header = reader.header(seed), header.firstSequence == expected,
          header.number == number
        else { break }
        cursor = LogPosition(segment: number, offset: UInt64(LogSegment.headerSize))
      }
      while let (record, payload) = try reader.record(at: cursor.offset, seed),
        record.sequence == expected
      {
        let payloadOffset = cursor.offset + UInt64(LogRecord.headerSize)
        cursor.offset += UInt64(LogRecord.span(payload: payload.count))
        expected += 1
        try body(
          Item(
            record: record, payload: payload, segment: segment, payloadOffset: payloadOffset,
            end: cursor))
      }
    }
    try checkNothingDurableFollows(cursor, expected, live)
    try cut(at: cursor, live)
    return End(lastSegment: max(cursor.segment, start.segment), nextSequence: expected)
  }

  private func open(_ number: UInt32) throws -> LogSegment {
    let path = LogSegment.path(directory, number)
    return LogSegment(
      number: number, file: try files.open(path, .readWrite, operation: "open log segment"))
  }

  /// Throws when a later record or segment shows that `expected` had been durable.
  private func checkNothingDurableFollows(
    _ cursor: LogPosition, _ expected: UInt64, _ live: [UInt32]
  ) throws {
    for number in live where number >= cursor.segment {
      let reader = try SegmentReader(try open(number))
      var later = number > cursor.segment ? reader.header(seed).map(\.durableSequence) : nil
      if later.map({ $0 < expected }) ?? true {
        let from = number == cursor.segment ? cursor.offset : UInt64(LogSegment.headerSize)
        later = try reader.firstRecord(from: from, seed) { $0.durableSequence >= expected }
          .map(\.durableSequence)
      }
      if let later, later >= expected {
        let path = LogSegment.path(directory, cursor.segment)
        throw VolumeError(
          .damaged,
          "replay page log: \(path): no valid record \(expected) at offset \(cursor.offset), "
            + "although everything up to \(later) was durable")
      }
    }
  }

  /// Removes what lies behind the prefix: later segments from the last to the first, then the rest
  /// of the open one.
  private func cut(at cursor: LogPosition, _ live: [UInt32]) throws {
    let later = live.filter { $0 > cursor.segment }
    for number in later.reversed() {
      try files.unlink(LogSegment.path(directory, number), operation: "cut page log")
    }
    if !later.isEmpty { try files.syncDirectory(directory, operation: "cut page log") }
    guard live.contains(cursor.segment) else { return }
    let segment = try open(cursor.segment)
    if try segment.file.size(operation: "cut page log") > cursor.offset {
      try segment.file.truncate(to: cursor.offset, operation: "cut page log")
    }
    // What was found counts as durable from here on: also what a process that died had written to earlier segments
    // and not synced.
    for number in live where number < cursor.segment {
      try open(number).file.sync(operation: "cut page log")
    }
    try segment.file.sync(operation: "cut page log")
  }
}

/// Reads one segment's records through a window of a few MiB.
private final class SegmentReader {
  private static let windowSize = 4 << 20
  private static let longest = LogRecord.span(payload: LogRecord.maximumPayload)
  private let segment: LogSegment
  private let size: UInt64
  private let window: UnsafeMutableRawBufferPointer
  /// Bytes of the file that the window holds.
  private var loaded: Range<UInt64> = 0..<0

  init(_ segment: LogSegment) throws {
    self.segment = segment
    size = try segment.file.size(operation: "read page log")
    window = .allocate(byteCount: Self.windowSize, alignment: 16)
  }

  deinit { window.deallocate() }

  func header(_ seed: UInt32) -> LogSegmentHeader? {
    // A segment that cannot be read is treated as one without a header; reading on reports the
    // error.
    guard let bytes = try? bytes(at: 0) else { return nil }
    return LogSegmentHeader(decoding: bytes, seed: seed)
  }

  func record(
    at offset: UInt64, _ seed: UInt32
  ) throws -> (LogRecord, UnsafeRawBufferPointer)? {
    let bytes = try bytes(at: offset)
    guard let record = LogRecord(decoding: bytes, seed: seed) else { return nil }
    let end = LogRecord.headerSize + record.payloadSize
    return (record, UnsafeRawBufferPointer(rebasing: bytes[LogRecord.headerSize..<end]))
  }

  /// The first valid record at or after `offset` that `matches`, wherever it begins.
  func firstRecord(
    from offset: UInt64, _ seed: UInt32, _ matches: (LogRecord) -> Bool
  ) throws -> LogRecord? {
    var at = offset
    while at + UInt64(LogRecord.headerSize) <= size {
      let bytes = try bytes(at: at)
      // A record that begins in the first part of the window is in it as a whole.
      let whole = max(bytes.count - Self.longest, LogRecord.alignment)
      let last = loaded.upperBound == size ? bytes.count - LogRecord.headerSize : whole
      var step = 0
      while step <= last {
        if bytes.load(UInt32.self, at: step) == LogRecord.magic,
          let record = LogRecord(decoding: .init(rebasing: bytes[step...]), seed: seed),
          matches(record)
        {
          return record
        }
        step += LogRecord.alignment
      }
      at += UInt64(step)
    }
    return nil
  }

  /// The file from `offset` on, at least one longest record of it where the file goes that far.
  private func bytes(at offset: UInt64) throws -> UnsafeRawBufferPointer {
    guard offset < size else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let wanted = min(size, offset + UInt64(Self.longest))
    if offset < loaded.lowerBound || wanted > loaded.upperBound {
      let count = try segment.file.read(into: window, at: offset, operation: "read page log")
      loaded = offset..<offset + UInt64(count)
    }
    let from = Int(offset - loaded.lowerBound)
    return UnsafeRawBufferPointer(rebasing: window[from..<loaded.count])
  }
}
