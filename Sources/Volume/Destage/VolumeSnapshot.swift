import CCRC32C
import DurableIO

/// What a volume is at the end of one destaged epoch: the file `state`. See
/// docs/formats/volume-state.md.
struct VolumeSnapshot {
  static let magic: UInt64 = 0x3154_5453_4F5A_5845  // "EXZOSTT1"
  static let version: UInt32 = 1
  private static let headerSize = 80

  var epoch: UInt64
  /// Where the log goes on after that epoch, and its next record.
  var position: LogPosition
  var sequence: UInt64
  /// Starts every checksum of this volume's log.
  var seed: UInt32
  var tree: FileTreeSnapshot
  /// `nil` for a root volume.
  var locals: [FileID: LocalBlocks]?

  func encode() -> [UInt8] {
    var body = ByteWriter()
    body.reserve(tree.entries.count * 64)
    for entry in tree.entries {
      body.put(entry.id.rawValue)
      body.put(entry.parent.rawValue)
      body.put(entry.size)
      body.put(entry.modified)
      body.put(UInt16(entry.kind.rawValue))
      body.put(entry.mode)
      body.put(UInt16(entry.name.utf8.count))
      body.put(UInt16(entry.target.utf8.count))
      body.bytes += entry.name.utf8
      body.bytes += entry.target.utf8
    }
    for (id, local) in (locals ?? [:]).sorted(by: { $0.key < $1.key }) {
      body.put(id.rawValue)
      body.put(local.floor)
      body.put(UInt32(local.bits.count))
      for word in local.bits { body.put(word) }
    }
    var header = ByteWriter()
    header.put(Self.magic)
    header.put(UInt32(0))
    header.put(Self.version)
    header.put(UInt64(body.bytes.count))
    header.put(epoch)
    header.put(position.offset)
    header.put(sequence)
    header.put(tree.nextFileID.rawValue)
    header.put(position.segment)
    header.put(seed)
    header.put(UInt32(tree.entries.count))
    header.put(UInt32(locals?.count ?? 0))
    header.put(UInt64(locals == nil ? 0 : 1))
    var bytes = header.bytes + body.bytes
    let checksum = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress! + 12, $0.count - 12) }
    bytes.withUnsafeMutableBytes { $0.store(checksum, at: 8) }
    return bytes
  }

  private static func madeLater(_ version: UInt32, _ path: String) -> VolumeError {
    VolumeError(
      .damaged,
      "read volume state: \(path) has version \(version), made by a later version of Exzo; "
        + "this one reads \(self.version)")
  }

  /// - Throws: ``VolumeError`` `.damaged` naming `path`.
  init(decoding bytes: [UInt8], path: String) throws {
    let damaged = VolumeError(.damaged, "read volume state: \(path) is damaged")
    let raw = try bytes.withUnsafeBytes { raw throws -> ByteReader in
      guard raw.count >= Self.headerSize, raw.load(UInt64.self, at: 0) == Self.magic,
        raw.load(UInt64.self, at: 16) == UInt64(raw.count - Self.headerSize),
        exzo_crc32c(0, raw.baseAddress! + 12, raw.count - 12) == raw.load(UInt32.self, at: 8)
      else { throw damaged }
      let version = raw.load(UInt32.self, at: 12)
      guard version == Self.version else {
        throw Self.madeLater(version, path)
      }
      return ByteReader(bytes: bytes, at: Self.headerSize)
    }
    var reader = raw
    (epoch, position, sequence, seed) = bytes.withUnsafeBytes { raw in
      (
        raw.load(UInt64.self, at: 24),
        LogPosition(
          segment: raw.load(UInt32.self, at: 56), offset: raw.load(UInt64.self, at: 32)),
        raw.load(UInt64.self, at: 40), raw.load(UInt32.self, at: 60)
      )
    }
    let (nextFileID, entries, locals, hasBase) = bytes.withUnsafeBytes { raw in
      (
        raw.load(UInt64.self, at: 48), Int(raw.load(UInt32.self, at: 64)),
        Int(raw.load(UInt32.self, at: 68)), raw.load(UInt64.self, at: 72) != 0
      )
    }
    tree = FileTreeSnapshot(entries: [], nextFileID: FileID(nextFileID))
    tree.entries.reserveCapacity(min(entries, bytes.count / 40))
    for _ in 0..<entries {
      guard let entry = reader.entry() else { throw damaged }
      tree.entries.append(entry)
    }
    self.locals = hasBase ? [:] : nil
    for _ in 0..<locals {
      guard let (id, local) = reader.local() else { throw damaged }
      self.locals?[id] = local
    }
  }

  init(
    epoch: UInt64, position: LogPosition, sequence: UInt64, seed: UInt32, tree: FileTreeSnapshot,
    locals: [FileID: LocalBlocks]?
  ) {
    self.epoch = epoch
    self.position = position
    self.sequence = sequence
    self.seed = seed
    self.tree = tree
    self.locals = locals
  }
}

/// Appends little-endian integers.
struct ByteWriter {
  var bytes: [UInt8] = []

  mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

  mutating func put<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }
}

/// Takes little-endian integers off an array; `nil` at its end.
struct ByteReader {
  let bytes: [UInt8]
  var at: Int

  mutating func take<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type) -> Value? {
    let size = MemoryLayout<Value>.size
    guard at + size <= bytes.count else { return nil }
    defer { at += size }
    return bytes.withUnsafeBytes { $0.load(Value.self, at: at) }
  }

  mutating func text(_ count: Int) -> String? {
    guard at + count <= bytes.count else { return nil }
    defer { at += count }
    return bytes.withUnsafeBytes { String(decoding: $0[at..<at + count], as: UTF8.self) }
  }

  mutating func entry() -> FileTreeEntry? {
    guard let id = take(UInt64.self), let parent = take(UInt64.self), let size = take(UInt64.self),
      let modified = take(Int64.self), let kind = take(UInt16.self), let mode = take(UInt16.self),
      let nameLength = take(UInt16.self), let targetLength = take(UInt16.self),
      let kind = FileKind(rawValue: UInt8(truncatingIfNeeded: kind)),
      let name = text(Int(nameLength)), let target = text(Int(targetLength))
    else { return nil }
    return FileTreeEntry(
      id: FileID(id), parent: FileID(parent), name: name, kind: kind, mode: mode, size: size,
      modified: modified, target: target)
  }

  mutating func local() -> (FileID, LocalBlocks)? {
    guard let id = take(UInt64.self), let floor = take(UInt32.self), let count = take(UInt32.self),
      at + Int(count) * 8 <= bytes.count
    else { return nil }
    var local = LocalBlocks(floor: floor)
    for _ in 0..<count { local.bits.append(take(UInt64.self) ?? 0) }
    return (FileID(id), local)
  }
}
