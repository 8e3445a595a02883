import ObjectStorage
import PostgresFormat

/// What retention took from a line: readers and the line's writer pass over it, whatever a manifest lists.
///
/// ## Purpose
/// Lets the collector work beside a line's writer, running or not, and without taking the line over: a
/// collector never writes a manifest, a writer never writes this.
///
/// ## State and invariants
/// 1. What is deleted was named here before, and stays named as long as a manifest may list it.
/// 2. A keyframe is first *withdrawn*: no moment is opened from it any more, and its objects stay for
///    ``RetentionPolicy/grace``, for whoever chose it before. Then it is *dropped*, and its objects go.
/// 3. Ranges of WAL only grow, and cover whole chunks as far as those count.
///
/// ## On disk
/// docs/formats/evictions.md; the highest number counts.
struct LineEvictions: Hashable, Sendable {
  /// A run of WAL that went.
  struct WAL: Hashable, Sendable {
    var range: Range<LSN>
    /// Of the transactions that ended in it: a moment sought by an earlier time may have lain there.
    var latestTime: PostgresTimestamp?
  }

  struct Keyframe: Hashable, Sendable {
    var number: ObjectNumber
    /// Since when the keyframe is in this state.
    var since: PostgresTimestamp
    /// Whether its objects may be gone; before that it is withdrawn.
    var isDropped: Bool
  }

  /// Counts up; 0 where nothing was ever evicted.
  var sequence: UInt64 = 0
  /// Random; tells two apart that were written at the same time.
  var token: UInt32 = 0
  /// In order; neither touch nor overlap.
  private(set) var wal: [WAL] = []
  /// In order of their numbers.
  var keyframes: [Keyframe] = []

  init() {}

  /// Whether both say the same of the line.
  func isSame(as other: LineEvictions) -> Bool {
    wal == other.wal && keyframes == other.keyframes
  }

  /// Whether the WAL of a chunk, as far as it counts, went.
  func contains(_ range: Range<LSN>) -> Bool {
    let index = wal.partitionPoint { $0.range.upperBound <= range.lowerBound }
    return index < wal.count && wal[index].range.lowerBound <= range.lowerBound
      && range.upperBound <= wal[index].range.upperBound
  }

  func keyframe(_ number: ObjectNumber) -> Keyframe? {
    let index = keyframes.partitionPoint { $0.number < number }
    return index < keyframes.count && keyframes[index].number == number ? keyframes[index] : nil
  }

  mutating func add(_ range: Range<LSN>, latestTime: PostgresTimestamp?) {
    let first = wal.partitionPoint { $0.range.upperBound < range.lowerBound }
    var merged = WAL(range: range, latestTime: latestTime)
    var last = first
    while last < wal.count, wal[last].range.lowerBound <= range.upperBound {
      let old = wal[last]
      merged.range =
        min(
          merged.range.lowerBound, old.range.lowerBound)..<max(
          merged.range.upperBound, old.range.upperBound)
      merged.latestTime = [merged.latestTime, old.latestTime].compactMap(\.self).max()
      last += 1
    }
    wal.replaceSubrange(first..<last, with: [merged])
  }
}

extension LineEvictions {
  static let partType: UInt8 = 1
  /// Such objects that a line keeps.
  static let keptCount = 2

  func encodedObject(of line: LineID) throws -> [UInt8] {
    var writer = BinaryWriter()
    writer.append(string: line.rawValue)
    writer.append(sequence)
    writer.append(token)
    writer.append(varint: UInt64(wal.count))
    for entry in wal {
      writer.append(entry.range.lowerBound.rawValue)
      writer.append(entry.range.upperBound.rawValue)
      // PostgreSQL's least timestamp is no time of a transaction.
      writer.append(entry.latestTime?.rawValue ?? .min)
    }
    writer.append(varint: UInt64(keyframes.count))
    for entry in keyframes {
      writer.append(varint: UInt64(entry.number.epoch))
      writer.append(varint: entry.number.sequence)
      writer.append(entry.since.rawValue)
      writer.append(UInt8(entry.isDropped ? 1 : 0))
    }
    var envelope = EnvelopeWriter(
      kind: .evictions, key: LineKeys(line: line).evictions(sequence, token: token))
    try envelope.addPart(type: LineEvictions.partType, writer.bytes)
    try envelope.finish()
    return envelope.takePending()
  }

  static func read(
    _ key: ObjectKey, of line: LineID, store: any ObjectStore
  ) async throws -> LineEvictions {
    let envelope = try await readEnvelope(key, kind: .evictions, store: store)
    let bytes = try envelope.read(type: partType, name: "evictions")
    return try BinaryReader.decode(bytes, key: key.name, operation: "read evictions") {
      try LineEvictions(from: &$0, line: line)
    }
  }

  private init(from reader: inout BinaryReader, line: LineID) throws {
    guard try reader.readLineID() == line else { throw reader.malformed("line \(line)") }
    sequence = try reader.read()
    token = try reader.read()
    for _ in 0..<(try reader.readCount(minimumSize: 24)) {
      let (start, end) = (LSN(try reader.read()), LSN(try reader.read()))
      let time: Int64 = try reader.read()
      guard start < end, wal.last.map({ $0.range.upperBound < start }) ?? true else {
        throw reader.malformed("ranges in order")
      }
      wal.append(WAL(range: start..<end, latestTime: time == .min ? nil : PostgresTimestamp(time)))
    }
    for _ in 0..<(try reader.readCount(minimumSize: 11)) {
      let number = ObjectNumber(
        epoch: try reader.readVarint(as: UInt32.self), sequence: try reader.readVarint())
      guard keyframes.last.map({ $0.number < number }) ?? true else {
        throw reader.malformed("keyframes in order")
      }
      keyframes.append(
        Keyframe(
          number: number, since: PostgresTimestamp(try reader.read()),
          isDropped: try reader.read(UInt8.self) != 0))
    }
  }
}

extension LineContents {
  /// Loads the newest evictions, where they are newer than those known.
  ///
  /// After the listings that they are about: what is deleted meanwhile is then named in them.
  mutating func refreshEvictions(_ store: any ObjectStore) async throws {
    let after =
      evictions.sequence == 0
      ? nil : keys.evictions(evictions.sequence, token: evictions.token)
    let listed = try await listAll(prefix: keys.evictionsPrefix, after: after, store: store)
    for listing in listed.reversed() {
      do {
        evictions = try await .read(listing.key, of: line, store: store)
      } catch let error as HistoryError where error.isOfHistory {
        damages[listing.key.name] = error
        continue
      }
      damages = damages.filter { !$0.key.hasPrefix(keys.evictionsPrefix) }
      return
    }
  }

  /// Forgets what went; what is only withdrawn stays listed.
  mutating func removeEvicted() {
    if evictions.sequence == 0 { return }
    keyframes.removeAll { evictions.keyframe($0.number)?.isDropped ?? false }
    if evictions.wal.isEmpty { return }
    let kept = Set(spans().map(\.chunk.number))
    chunks.removeAll { !kept.contains($0.number) }
  }
}
