/// Bytes in a block: PostgreSQL's page size, and the unit of every block index here.
public let blockSize = 8192

/// What a volume was opened from: an immutable image of a tree, read block by block.
///
/// It answers "block n of file f" at one keyframe today; a later implementation answers it at an
/// LSN, by
/// page-level redo, behind the same calls. Calls block their thread and may come from many at once.
public protocol BaseView: Sendable {
  /// The tree as it is at this view's moment.
  var tree: FileTreeSnapshot { get }

  /// Reads `count` consecutive blocks into `buffer` (`count * blockSize` bytes). Blocks that were
  /// never
  /// written read as zeros.
  /// - Throws: where an object is missing or damaged; the buffer's content is then unspecified and
  ///   must not be served.
  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer) throws
}

/// The base of a root volume: an empty root directory.
public struct EmptyBaseView: BaseView {
  public init() {}

  public var tree: FileTreeSnapshot {
    FileTreeSnapshot(
      entries: [
        FileTreeEntry(id: .root, parent: .root, name: "", kind: .directory, mode: 0o700)
      ], nextFileID: FileID(2))
  }

  public func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
  }
}
