import DurableIO
import ObjectStorage
import PostgresFormat
import Volume

/// A layer that lies in local files and is not in the store yet.
public struct SpooledLayer: Sendable {
  public var reference: LayerReference
  /// One file an object, in the reference's order.
  public var paths: [String]

  /// Removes the files, as far as they exist.
  func removeFiles(_ fileSystem: any FileSystem) throws {
    for path in paths {
      do {
        try fileSystem.unlink(path, operation: "remove spooled layer")
      } catch let error as FileError where error.isNotFound {
        continue
      }
    }
  }
}

/// Writes a layer into local files, block by block in the order of their addresses.
///
/// ## Purpose
/// Cuts the blocks into parts and objects; needs memory for one part, one megabyte of output and
/// the indices, whatever the layer's size.
///
/// ## State and invariants
/// 1. All parts of blocks but the last of an object hold exactly `blocksPerPart` blocks.
/// 2. A file that continues in the next object has its floor in both.
///
/// ## On disk
/// docs/formats/layer.md; spool files are named as the objects' last key part.
///
/// ## Crash
/// The files are not synced here; a layer that was not put is built again.
///
/// ## Concurrency
/// One thread at a time. Blocks its thread.
final class LayerWriter {
  private let line: LineID
  private let number: ObjectNumber
  private let directory: String
  private let fileSystem: any FileSystem
  private let layout: LayerLayout
  private static let flushSize = 1 << 20

  private var objects: [LayerObjectReference] = []
  private var paths: [String] = []
  private var file: (any OpenFile)?
  private var written: UInt64 = 0
  private var envelope: EnvelopeWriter
  private var index: LayerIndex
  private var start = BlockAddress(file: FileID(0), block: 0)
  private var currentFile: EpochFile?
  private let part: UnsafeMutableRawBufferPointer
  private var partBlocks = 0

  init(
    line: LineID, number: ObjectNumber, directory: String, fileSystem: any FileSystem,
    layout: LayerLayout
  ) throws {
    self.line = line
    self.number = number
    self.directory = directory
    self.fileSystem = fileSystem
    self.layout = layout
    part = .allocate(byteCount: layout.blocksPerPart * blockSize, alignment: 4096)
    index = LayerIndex(blocksPerPart: layout.blocksPerPart)
    envelope = EnvelopeWriter(kind: .layer, key: LineKeys(line: line).layer(number, part: 0))
    try fileSystem.makeDirectory(directory, operation: "spool layer")
  }

  deinit { part.deallocate() }

  /// Files must come in order of their identities.
  func beginFile(_ id: FileID, floor: UInt32) {
    currentFile = EpochFile(id: id, floor: floor, blocks: [])
    index.beginFile(id, floor: floor)
  }

  /// Adds a block (`blockSize` bytes) of the file begun last; blocks must ascend.
  func append(block: UInt32, _ bytes: UnsafeRawBufferPointer) throws {
    precondition(bytes.count == blockSize)
    try append(block: block) { $0.copyMemory(from: bytes) }
  }

  /// As ``append(block:_:)-(_,UnsafeRawBufferPointer)``, with the block's bytes written in place.
  func append(block: UInt32, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
    guard let currentFile else { preconditionFailure("block without a file") }
    if Int(index.blockCount) == layout.blocksPerObject {
      try finishObject(tree: nil)
      try beginObject(BlockAddress(file: currentFile.id, block: block))
      index.beginFile(currentFile.id, floor: currentFile.floor)
    }
    let base = partBlocks * blockSize
    try fill(UnsafeMutableRawBufferPointer(rebasing: part[base..<base + blockSize]))
    index.append(block: block)
    partBlocks += 1
    if partBlocks == layout.blocksPerPart { try flushPart() }
  }

  /// Ends the layer. The files are complete; they become durable when they are put.
  func finish(
    tree: FileTreeSnapshot, highestPageLSN: LSN, epochs: ClosedRange<UInt64>
  ) throws -> SpooledLayer {
    try finishObject(tree: tree)
    return SpooledLayer(
      reference: LayerReference(
        line: line, number: number, epochs: epochs, highestPageLSN: highestPageLSN,
        objects: objects),
      paths: paths)
  }

  /// Removes what has been written, after a failure. Errors leave files that the next layer of the
  /// same number, or the owner of the directory, removes.
  func discard() {
    file?.close()
    for path in paths {
      // A failure has been reported already; a leftover only takes space.
      try? fileSystem.unlink(path, operation: "remove spooled layer")
    }
  }

  private func beginObject(_ start: BlockAddress) throws {
    self.start = start
    index = LayerIndex(blocksPerPart: layout.blocksPerPart)
    envelope = EnvelopeWriter(
      kind: .layer, key: LineKeys(line: line).layer(number, part: objects.count))
    written = 0
  }

  private func flushPart() throws {
    if partBlocks == 0 { return }
    try envelope.addPart(
      type: LayerPartType.blocks,
      UnsafeRawBufferPointer(rebasing: part[..<(partBlocks * blockSize)]), level: layout.level)
    partBlocks = 0
    if envelope.pending.count >= LayerWriter.flushSize { try flush() }
  }

  private func finishObject(tree: FileTreeSnapshot?) throws {
    try flushPart()
    try envelope.addPart(type: LayerPartType.index, index.encoded)
    if let tree { try envelope.addPart(type: LayerPartType.tree, tree.encoded) }
    try envelope.finish()
    try flush()
    file?.close()
    file = nil
    objects.append(
      LayerObjectReference(size: envelope.size, start: start, blockCount: index.blockCount))
  }

  private func flush() throws {
    let file = try file ?? openFile()
    try envelope.drain { bytes in
      try file.write(bytes, at: written, operation: "spool layer")
      written += UInt64(bytes.count)
    }
  }

  private func openFile() throws -> any OpenFile {
    let path =
      "\(directory)/layer-\(line)-\(number)-\(ObjectNumber.digits(UInt64(objects.count), width: 4))"
    let opened = try fileSystem.open(path, .createReadWrite, operation: "spool layer")
    paths.append(path)
    try opened.truncate(to: 0, operation: "spool layer")
    file = opened
    return opened
  }
}
