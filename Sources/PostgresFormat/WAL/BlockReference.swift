/// A block that a WAL record names, and where the record's bytes for it lie.
///
/// Source: `XLogRecordBlockHeader` and what follows it in `access/xlogrecord.h`. Offsets count from
/// the record's first byte and were checked against its length when the record was parsed.
public struct BlockReference: Hashable, Sendable {
  public var locator: RelFileLocator
  public var block: UInt32
  /// The number by which the record's kind knows the block: 0 to 32.
  public var id: UInt8
  public var fork: ForkNumber
  /// The record carries a full image of the page.
  public var hasImage: Bool
  /// Redo restores the image; false only for images that serve consistency checks.
  public var appliesImage: Bool
  /// Redo initialises the page and does not read what it held before.
  public var willInit: Bool
  public var imageCompression: ImageCompression
  /// Bytes left out of the image: `[imageHoleOffset, imageHoleOffset + imageHoleLength)` are zeros.
  public var imageHoleOffset: UInt16
  public var imageHoleLength: UInt16
  public var imageLength: UInt16
  public var dataLength: UInt16
  var imageOffset: UInt32
  var dataOffset: UInt32

  /// How the image's bytes are packed.
  public enum ImageCompression: UInt8, Hashable, Sendable {
    case none, pglz, lz4, zstd
  }

  /// Whether the page's content after this record does not depend on what it was before it.
  @inlinable
  public var startsPage: Bool { willInit || appliesImage }
}

extension BlockReference {
  static let empty = BlockReference(
    locator: RelFileLocator(tablespace: 0, database: 0, relation: 0), block: 0, id: 0, fork: .main,
    hasImage: false, appliesImage: false, willInit: false, imageCompression: .none,
    imageHoleOffset: 0, imageHoleLength: 0, imageLength: 0, dataLength: 0, imageOffset: 0,
    dataOffset: 0)

  /// `XLR_MAX_BLOCK_ID + 1`.
  static let limit = 33
}
