import DurableIO
import PostgresFormat

/// Writes a tail into a compute's `pg_wal`, as a power cut at X would have left it.
///
/// Purpose: segments from the one that holds the redo LSN to the one that holds X, zero after X, no
/// later
/// segment, and in each first page the new line's system identifier (`xlp_sysid`, 24 bytes into the
/// page; page
/// headers have no CRC).
/// State: bytes come in order and without a gap, from a segment's first byte on, but for what ``skip(to:)``
/// leaves out.
/// Crash: nothing is durable before ``finish()``; an opening that dies is begun anew.
struct TailWriter: Sendable {
  private let fileSystem: any FileSystem
  private let directory: String
  private let timeline: TimelineID
  private let segmentSize: UInt64
  private let systemIdentifier: UInt64
  private let startLSN: LSN
  private var next: LSN
  private var current: (any OpenFile)?
  private var files: [any OpenFile] = []

  /// - Parameter startLSN: a segment's first byte.
  init(
    directory: String, timeline: TimelineID, segmentSize: UInt64, systemIdentifier: UInt64,
    startLSN: LSN, fileSystem: any FileSystem
  ) {
    precondition(startLSN.rawValue % segmentSize == 0, "a tail starts with a whole segment")
    self.directory = directory
    self.timeline = timeline
    self.segmentSize = segmentSize
    self.systemIdentifier = systemIdentifier
    self.startLSN = startLSN
    self.fileSystem = fileSystem
    next = startLSN
  }

  /// Appends a run that starts where the last one ended.
  mutating func append(_ bytes: UnsafeRawBufferPointer, at lsn: LSN) throws {
    guard lsn == next else {
      throw ComputeError(
        .damagedHistory, "write the tail: WAL continues at \(lsn), expected \(next)",
        hint: "run 'exzo verify'; the WAL of this moment has a gap")
    }
    var rest = bytes
    while !rest.isEmpty {
      let offset = next.rawValue % segmentSize
      if offset == 0 { try begin() }
      let count = min(rest.count, Int(segmentSize - offset))
      try current!.write(
        UnsafeRawBufferPointer(rebasing: rest[..<count]), at: offset, operation: "write the tail")
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      next = next + UInt64(count)
      if next.rawValue % segmentSize == 0 || rest.isEmpty { try identify() }
    }
  }

  /// Leaves out what lies before `lsn` in the first segment: zeros, behind the segment's first page.
  mutating func skip(to lsn: LSN) {
    guard lsn > next, next > startLSN, lsn - startLSN < segmentSize else { return }
    next = lsn
  }

  /// Writes over bytes that were appended before.
  func overwrite(_ bytes: [UInt8], at lsn: LSN) throws {
    precondition(lsn >= startLSN && lsn + UInt64(bytes.count) <= next, "bytes not yet written")
    var done = 0
    while done < bytes.count {
      let place = lsn + UInt64(done) - startLSN
      let offset = place % segmentSize
      let count = min(bytes.count - done, Int(segmentSize - offset))
      try bytes[done..<done + count].withUnsafeBytes {
        try files[Int(place / segmentSize)].write($0, at: offset, operation: "write the tail")
      }
      done += count
    }
  }

  /// Fills the last segment with zeros and makes the segments and their directory durable.
  ///
  /// - Returns: LSN where the tail ends.
  mutating func finish(durable: Bool) throws -> LSN {
    if next == startLSN { try begin() }
    try current?.truncate(to: segmentSize, operation: "write the tail")
    if durable {
      for file in files { try file.sync(operation: "write the tail") }
      try fileSystem.syncDirectory(directory, operation: "write the tail")
    }
    return next
  }

  private mutating func begin() throws {
    let name = WALSegment(timeline: timeline, containing: next, size: segmentSize).fileName
    let file = try fileSystem.open(
      "\(directory)/\(name)", .createReadWrite, operation: "write the tail")
    current = file
    files.append(file)
  }

  /// Puts the line's identity into the open segment's first page, once that is written.
  private func identify() throws {
    let written = next.rawValue % segmentSize
    guard written == 0 || written >= 32, let current else { return }
    try withUnsafeBytes(of: systemIdentifier.littleEndian) {
      try current.write($0, at: 24, operation: "write the tail")
    }
  }
}
