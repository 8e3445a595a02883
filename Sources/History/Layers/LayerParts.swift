import Volume

/// What the parts of a layer's objects hold; docs/formats/layer.md.
enum LayerPartType {
  static let blocks: UInt8 = 1
  static let index: UInt8 = 2
  static let tree: UInt8 = 3
}

/// How layers are cut.
public struct LayerLayout: Sendable {
  /// Blocks that are compressed together and read together. Measured in docs/decisions.
  public var blocksPerPart: Int
  /// Blocks in an object, at most.
  public var blocksPerObject: Int
  /// zstd's compression level.
  public var level: Int32

  public init(blocksPerPart: Int = 8, blocksPerObject: Int = 131_072, level: Int32 = 1) {
    precondition(blocksPerPart > 0 && blocksPerObject >= blocksPerPart)
    self.blocksPerPart = blocksPerPart
    self.blocksPerObject = blocksPerObject
    self.level = level
  }
}

extension FileTreeSnapshot {
  /// The tree part of a layer.
  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: nextFileID.rawValue)
    writer.append(varint: UInt64(entries.count))
    for entry in entries {
      writer.append(varint: entry.id.rawValue)
      writer.append(varint: entry.parent.rawValue)
      writer.append(string: entry.name)
      writer.append(entry.kind.rawValue)
      writer.append(entry.mode)
      writer.append(varint: entry.size)
      writer.append(signedVarint: entry.modified)
      writer.append(string: entry.target)
    }
    return writer.bytes
  }

  init(encoded: [UInt8], key: String) throws {
    self = try BinaryReader.decode(encoded, key: key, operation: "read tree of") { reader in
      let next = FileID(try reader.readVarint())
      let count = try reader.readCount(minimumSize: 9)
      var entries: [FileTreeEntry] = []
      entries.reserveCapacity(count)
      for _ in 0..<count { entries.append(try FileTreeEntry(from: &reader)) }
      return FileTreeSnapshot(entries: entries, nextFileID: next)
    }
  }
}

extension FileTreeEntry {
  fileprivate init(from reader: inout BinaryReader) throws {
    let id = FileID(try reader.readVarint())
    let parent = FileID(try reader.readVarint())
    let name = try reader.readString()
    guard let kind = FileKind(rawValue: try reader.read()) else {
      throw reader.malformed("a kind of file")
    }
    self.init(
      id: id, parent: parent, name: name, kind: kind, mode: try reader.read(),
      size: try reader.readVarint(), modified: try reader.readSignedVarint(),
      target: try reader.readString())
  }
}
