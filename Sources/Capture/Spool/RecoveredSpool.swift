import DurableIO
import History
import PostgresFormat

/// A spool as it was found, verified up to where its records are whole, and synced.
struct RecoveredSpool: Sendable {
  let spool: WALSpool
  /// Reading begins here: the spool's end, or below the store's where there was no spool.
  let verifiedLSN: LSN
  let filler: ChunkFiller
  let timeline: TimelineID

  /// Opens the spool, or makes one where there is none that reaches `uploadedLSN`. Blocks.
  init(_ configuration: CaptureConfiguration, line: LineDescription, uploadedLSN: LSN) throws {
    let lastUploaded = LSN(max(uploadedLSN.rawValue, 1) - 1)
    let found = try WALSpool.open(
      configuration.spoolDirectory, holding: max(line.startLSN, lastUploaded),
      fileSystem: configuration.fileSystem)
    if let found {
      try RecoveredSpool.check(found, line)
      if let recovered = try RecoveredSpool(found, configuration, line, uploadedLSN) {
        self = recovered
        return
      }
    }
    // A segment back, so that the record in which the store ends is read from its beginning.
    let size = UInt64(line.segmentSize)
    let start = max(line.startLSN, LSN(lastUploaded.rawValue / size * size))
    spool = try WALSpool.create(
      configuration.spoolDirectory,
      SpoolHeader(
        line: line.id, systemIdentifier: line.systemIdentifier, segmentSize: line.segmentSize,
        startLSN: start), fileSystem: configuration.fileSystem)
    verifiedLSN = start
    timeline = line.timeline
    filler = ChunkFiller(
      reader: RecoveredSpool.reader(at: start, configuration, line), uploadStart: uploadedLSN,
      line: line.id, timeline: line.timeline, systemIdentifier: line.systemIdentifier,
      limit: configuration.chunkLimit, time: configuration.clock.now())
  }

  /// At most so many bytes are read from the store, to be compared with what the server sends
  /// again.
  private static let longestRepeat: UInt64 = 64 << 20

  /// `nil` where the spool does not hold the WAL that follows the store's.
  private init?(
    _ found: WALSpool, _ configuration: CaptureConfiguration, _ line: LineDescription,
    _ uploadedLSN: LSN
  ) throws {
    let start = found.startLSN
    guard start <= uploadedLSN, found.capacityEnd > start else { return nil }
    var reader = RecoveredSpool.reader(at: start, configuration, line)
    try RecoveredSpool.readAll(&reader, found)
    guard !reader.isSearching, reader.lastRecordEnd >= start else { return nil }
    let end = reader.lastRecordEnd
    // A disk that went back by much more than a record: what follows is asked of the server anew.
    guard end + RecoveredSpool.longestRepeat >= uploadedLSN else { return nil }
    try found.sync()
    spool = found
    verifiedLSN = end
    timeline = reader.timeline ?? line.timeline
    var filler = ChunkFiller(
      reader: RecoveredSpool.reader(at: start, configuration, line), uploadStart: uploadedLSN,
      line: line.id, timeline: timeline, systemIdentifier: line.systemIdentifier,
      limit: configuration.chunkLimit, time: configuration.clock.now())
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    _ = try filler.verify(upTo: end, in: found, buffer)
    filler.didSync()
    self.filler = filler
  }

  private static func check(_ found: WALSpool, _ line: LineDescription) throws {
    guard found.header.line == line.id, found.header.systemIdentifier == line.systemIdentifier,
      found.header.segmentSize == line.segmentSize
    else {
      throw CaptureError(
        .spool, "open spool '\(found.directory)'",
        detail: "it holds WAL of line \(found.header.line), not of \(line.id)")
    }
  }

  /// A reader at the line's beginning, or one that searches from a page.
  private static func reader(
    at start: LSN, _ configuration: CaptureConfiguration, _ line: LineDescription
  ) -> WALStreamReader {
    // A root's WAL begins with a segment, which a record of the one before may reach into.
    if start == line.startLSN, line.parent != nil || start != start.pageStart {
      return WALStreamReader(
        format: configuration.major, startingAtRecord: start,
        segmentSize: UInt64(line.segmentSize), systemIdentifier: line.systemIdentifier)
    }
    return WALStreamReader(
      format: configuration.major, startingAtPage: start.pageStart,
      segmentSize: UInt64(line.segmentSize), systemIdentifier: line.systemIdentifier)
  }

  /// Reads records until one does not pass its checks: there the spool ends.
  private static func readAll(_ reader: inout WALStreamReader, _ spool: WALSpool) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    while true {
      let count = try spool.read(into: buffer, at: reader.position)
      if count == 0 { return }
      do {
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        if case .endOfWAL = try reader.feed(bytes, at: reader.position, { _ in }) { return }
      } catch is FormatError {
        return
      }
    }
  }
}
