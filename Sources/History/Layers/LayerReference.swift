import ObjectStorage
import PostgresFormat
import Volume

/// One block of one file.
public struct BlockAddress: Hashable, Comparable, Sendable {
  public var file: FileID
  public var block: UInt32

  public init(file: FileID, block: UInt32) {
    self.file = file
    self.block = block
  }

  public static func < (a: BlockAddress, b: BlockAddress) -> Bool {
    (a.file, a.block) < (b.file, b.block)
  }
}

/// A layer: every block changed between two keyframes and the tree at the later one, as one or
/// more immutable objects.
///
/// Part of each keyframe that is read through the layer, so that a stack of layers opens without
/// reading the layers themselves.
public struct LayerReference: Hashable, Sendable {
  /// The line whose writer made the layer; a child's keyframes refer to its ancestors' layers.
  public var line: LineID
  public var number: ObjectNumber
  /// Sealed epochs of that line's volume that the layer covers; empty where none of them is in it
  /// (a merge of ancestors' layers alone does not happen, so it is not empty in practice).
  public var epochs: ClosedRange<UInt64>
  /// No page in the layer has a higher LSN.
  public var highestPageLSN: LSN
  /// In order of what they cover; the last one also holds the tree.
  public var objects: [LayerObjectReference]

  /// Bytes in the store.
  public var storedBytes: UInt64 { objects.reduce(0) { $0 + $1.size } }
  public var blockCount: UInt64 { objects.reduce(0) { $0 + UInt64($1.blockCount) } }

  /// The key of one of the objects.
  public func key(ofObject index: Int) -> ObjectKey {
    LineKeys(line: line).layer(number, part: index)
  }
}

/// One object of a layer.
public struct LayerObjectReference: Hashable, Sendable {
  /// Bytes in the store.
  public var size: UInt64
  /// The object answers for all addresses from here up to the next object's start.
  public var start: BlockAddress
  public var blockCount: UInt32
}

extension LayerReference {
  func encode(to writer: inout BinaryWriter) {
    writer.append(string: line.rawValue)
    writer.append(varint: UInt64(number.epoch))
    writer.append(varint: number.sequence)
    writer.append(varint: epochs.lowerBound)
    writer.append(varint: epochs.upperBound)
    writer.append(varint: highestPageLSN.rawValue)
    writer.append(varint: UInt64(objects.count))
    for object in objects {
      writer.append(varint: object.size)
      writer.append(varint: object.start.file.rawValue)
      writer.append(varint: UInt64(object.start.block))
      writer.append(varint: UInt64(object.blockCount))
    }
  }

  init(from reader: inout BinaryReader) throws {
    line = try reader.readLineID()
    number = ObjectNumber(
      epoch: try reader.readVarint(as: UInt32.self), sequence: try reader.readVarint())
    let first = try reader.readVarint()
    let last = try reader.readVarint()
    guard first <= last else { throw reader.malformed("a range of epochs") }
    epochs = first...last
    highestPageLSN = LSN(try reader.readVarint())
    let count = try reader.readCount(minimumSize: 4)
    guard count > 0 else { throw reader.malformed("a layer with objects") }
    objects = []
    for _ in 0..<count {
      let object = LayerObjectReference(
        size: try reader.readVarint(),
        start: BlockAddress(
          file: FileID(try reader.readVarint()), block: try reader.readVarint(as: UInt32.self)),
        blockCount: try reader.readVarint(as: UInt32.self))
      if let previous = objects.last, object.start <= previous.start {
        throw reader.malformed("objects in order")
      }
      objects.append(object)
    }
  }
}

extension BinaryReader {
  mutating func readLineID() throws -> LineID {
    let text = try readString()
    guard LineID.isValid(text) else { throw malformed("the identity of a line") }
    return LineID(rawValue: text)
  }
}
