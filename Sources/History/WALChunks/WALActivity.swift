import PostgresFormat

/// What happened in a chunk, by the minute: what a timeline shows and "before the accident" needs.
public struct WALActivity: Hashable, Sendable {
  /// Ascending by minute.
  public var minutes: [Minute] = []
  /// In WAL order.
  public var fileChanges: [FileChange] = []

  public init() {}

  /// One minute's work.
  public struct Minute: Hashable, Sendable {
    /// Minutes since 2000-01-01 00:00 UTC.
    public var minute: Int64
    public var commits: UInt64 = 0
    public var aborts: UInt64 = 0
    public var walBytes: UInt64 = 0
    public var touchedBlocks = DistinctSketch()
    /// Rows deleted, by relation.
    public var heapDeletes: [RelFileLocator: UInt64] = [:]

    public init(minute: Int64) { self.minute = minute }
  }

  /// A relation's file that came, went or was cut.
  public struct FileChange: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
      case created = 1
      /// At a commit or abort.
      case dropped = 2
      case truncated = 3
      /// All of a database; the locator's relation is 0.
      case databaseDropped = 4
      case databaseCreated = 5
    }

    public var kind: Kind
    public var locator: RelFileLocator
    public var xid: UInt32
    /// Start of the record.
    public var lsn: LSN
    /// Of the last transaction end before it, or its own.
    public var time: PostgresTimestamp

    public init(
      kind: Kind, locator: RelFileLocator, xid: UInt32, lsn: LSN, time: PostgresTimestamp
    ) {
      self.kind = kind
      self.locator = locator
      self.xid = xid
      self.lsn = lsn
      self.time = time
    }
  }

  /// Takes in what happened in the chunk that follows.
  mutating func append(_ next: WALActivity) {
    for minute in next.minutes {
      guard let index = minutes.firstIndex(where: { $0.minute >= minute.minute }) else {
        minutes.append(minute)
        continue
      }
      if minutes[index].minute == minute.minute {
        minutes[index].add(minute)
      } else {
        minutes.insert(minute, at: index)
      }
    }
    fileChanges += next.fileChanges
  }
}

extension WALActivity.Minute {
  mutating func add(_ other: WALActivity.Minute) {
    commits += other.commits
    aborts += other.aborts
    walBytes += other.walBytes
    touchedBlocks.formUnion(other.touchedBlocks)
    heapDeletes.merge(other.heapDeletes, uniquingKeysWith: +)
  }
}

extension WALActivity {
  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: UInt64(minutes.count))
    for minute in minutes {
      writer.append(signedVarint: minute.minute)
      writer.append(varint: minute.commits)
      writer.append(varint: minute.aborts)
      writer.append(varint: minute.walBytes)
      writer.append(raw: minute.touchedBlocks.registers)
      writer.append(varint: UInt64(minute.heapDeletes.count))
      for (locator, count) in minute.heapDeletes.sorted(by: { $0.key < $1.key }) {
        writer.append(locator)
        writer.append(varint: count)
      }
    }
    writer.append(varint: UInt64(fileChanges.count))
    for change in fileChanges {
      writer.append(change.kind.rawValue)
      writer.append(change.locator)
      writer.append(change.xid)
      writer.append(change.lsn.rawValue)
      writer.append(change.time.rawValue)
    }
    return writer.bytes
  }

  init(encoded: [UInt8], key: String) throws {
    self = try BinaryReader.decode(encoded, key: key, operation: "read activity of") { reader in
      var activity = WALActivity()
      for _ in 0..<(try reader.readCount(minimumSize: 260)) {
        activity.minutes.append(try Minute(from: &reader))
      }
      for _ in 0..<(try reader.readCount(minimumSize: 33)) {
        guard let kind = FileChange.Kind(rawValue: try reader.read()) else {
          throw reader.malformed("a kind of change")
        }
        activity.fileChanges.append(
          FileChange(
            kind: kind, locator: try reader.readLocator(), xid: try reader.read(),
            lsn: LSN(try reader.read()), time: PostgresTimestamp(try reader.read())))
      }
      return activity
    }
  }
}

extension WALActivity.Minute {
  fileprivate init(from reader: inout BinaryReader) throws {
    self.init(minute: try reader.readSignedVarint())
    commits = try reader.readVarint()
    aborts = try reader.readVarint()
    walBytes = try reader.readVarint()
    touchedBlocks = DistinctSketch(
      registers: try reader.readBytes(DistinctSketch.registerCount))
    for _ in 0..<(try reader.readCount(minimumSize: 13)) {
      let locator = try reader.readLocator()
      heapDeletes[locator] = try reader.readVarint()
    }
  }
}

extension BinaryWriter {
  mutating func append(_ locator: RelFileLocator) {
    append(locator.tablespace)
    append(locator.database)
    append(locator.relation)
  }
}

extension BinaryReader {
  mutating func readLocator() throws -> RelFileLocator {
    RelFileLocator(tablespace: try read(), database: try read(), relation: try read())
  }
}
