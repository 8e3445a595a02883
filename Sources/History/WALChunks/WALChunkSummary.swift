import ObjectStorage
import PostgresFormat

/// What a WAL chunk says about itself; listed in manifests, so that seeking reads no chunk in vain.
public struct WALChunkSummary: Hashable, Sendable {
  public var line: LineID
  public var timeline: TimelineID
  /// Of the server that wrote the WAL; it stands in the first page of each segment.
  public var systemIdentifier: UInt64
  /// The chunk holds the bytes `[startLSN, endLSN)`; both may lie inside a record.
  public var startLSN: LSN
  public var endLSN: LSN
  /// Start of the first record that *ends* in the chunk; may lie before ``startLSN``. `nil` where
  /// no record ends in the chunk.
  public var firstRecordStart: LSN?
  /// End of the last record that ends in the chunk, its padding included: may lie after
  /// ``endLSN``, by up to seven bytes, or by the rest of the segment after a segment switch.
  public var lastRecordEnd: LSN?
  /// Records of transactions that ended, among the records that end in the chunk.
  public var commits: UInt64 = 0
  public var aborts: UInt64 = 0
  /// Earliest and latest time of those records; times do not ascend with LSNs.
  public var earliestTime: PostgresTimestamp?
  public var latestTime: PostgresTimestamp?
  /// Start of the last record, among those that end in the chunk, whose effect no page chain shows; see
  /// ``RecordRole/hard(_:)``.
  public var lastHardLSN: LSN?

  public init(
    line: LineID, timeline: TimelineID, systemIdentifier: UInt64, startLSN: LSN, endLSN: LSN
  ) {
    self.line = line
    self.timeline = timeline
    self.systemIdentifier = systemIdentifier
    self.startLSN = startLSN
    self.endLSN = endLSN
  }

  public var byteCount: UInt64 { endLSN - startLSN }

  /// Where the block index counts positions from.
  var recordBase: LSN { firstRecordStart ?? startLSN }
  /// Where the records that end in the chunk begin; empty where none does.
  var recordStarts: Range<LSN> { recordBase..<(firstRecordStart == nil ? startLSN : endLSN) }
  /// Positions in the block index lie below this.
  var recordUnits: UInt64 {
    let starts = recordStarts
    return (starts.upperBound - starts.lowerBound + BlockRecords.unit - 1) / BlockRecords.unit
  }

  /// Takes in what the chunk that follows says: the summary of both together.
  mutating func append(_ next: WALChunkSummary) {
    endLSN = next.endLSN
    firstRecordStart = firstRecordStart ?? next.firstRecordStart
    lastRecordEnd = next.lastRecordEnd ?? lastRecordEnd
    commits += next.commits
    aborts += next.aborts
    earliestTime = [earliestTime, next.earliestTime].compactMap(\.self).min()
    latestTime = [latestTime, next.latestTime].compactMap(\.self).max()
    lastHardLSN = next.lastHardLSN ?? lastHardLSN
  }
}

extension WALChunkSummary {
  func encode(to writer: inout BinaryWriter) {
    writer.append(string: line.rawValue)
    writer.append(timeline.rawValue)
    writer.append(systemIdentifier)
    writer.append(startLSN.rawValue)
    writer.append(endLSN.rawValue)
    // 0 is no LSN, and PostgreSQL's least timestamp is no time of a transaction.
    writer.append(firstRecordStart?.rawValue ?? 0)
    writer.append(lastRecordEnd?.rawValue ?? 0)
    writer.append(varint: commits)
    writer.append(varint: aborts)
    writer.append(earliestTime?.rawValue ?? .min)
    writer.append(latestTime?.rawValue ?? .min)
    writer.append(lastHardLSN?.rawValue ?? 0)
  }

  init(from reader: inout BinaryReader) throws {
    self.init(
      line: try reader.readLineID(), timeline: TimelineID(try reader.read()),
      systemIdentifier: try reader.read(), startLSN: LSN(try reader.read()),
      endLSN: LSN(try reader.read()))
    func position(_ value: UInt64) -> LSN? { value == 0 ? nil : LSN(value) }
    func time(_ value: Int64) -> PostgresTimestamp? {
      value == .min ? nil : PostgresTimestamp(value)
    }
    firstRecordStart = position(try reader.read())
    lastRecordEnd = position(try reader.read())
    commits = try reader.readVarint()
    aborts = try reader.readVarint()
    earliestTime = time(try reader.read())
    latestTime = time(try reader.read())
    lastHardLSN = position(try reader.read())
    guard startLSN < endLSN else { throw reader.malformed("a chunk that is not empty") }
    guard (firstRecordStart == nil) == (lastRecordEnd == nil) else {
      throw reader.malformed("both ends of the records")
    }
    if let first = firstRecordStart, let last = lastRecordEnd {
      guard first < last, first < endLSN else {
        throw reader.malformed("records in the chunk")
      }
    }
  }
}

/// A chunk in the store.
public struct WALChunkReference: Hashable, Sendable {
  public var number: ObjectNumber
  /// Bytes in the store.
  public var size: UInt64
  public var summary: WALChunkSummary

  public var startLSN: LSN { summary.startLSN }
  public var endLSN: LSN { summary.endLSN }

  public init(number: ObjectNumber, size: UInt64, summary: WALChunkSummary) {
    self.number = number
    self.size = size
    self.summary = summary
  }
}

extension WALChunkReference {
  func encode(to writer: inout BinaryWriter) {
    writer.append(varint: UInt64(number.epoch))
    writer.append(varint: number.sequence)
    writer.append(varint: size)
    summary.encode(to: &writer)
  }

  init(from reader: inout BinaryReader) throws {
    self.init(
      number: ObjectNumber(
        epoch: try reader.readVarint(as: UInt32.self), sequence: try reader.readVarint()),
      size: try reader.readVarint(), summary: try WALChunkSummary(from: &reader))
  }
}
