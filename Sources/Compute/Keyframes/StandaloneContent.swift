import History
import PostgresFormat
import Volume

/// What a keyframe that stands alone holds of a lazily opened line's base.
///
/// The layers of the base hold pages as they were before the line began, and WAL brings them to its beginning.
/// A layer with all of the pages that this WAL changed makes the layers below it right without WAL.
extension LazyBaseView {
  /// Whether every page that the WAL changed is made: reading them takes no redo.
  var isMade: Bool { allMade.load(ordering: .acquiring) }

  /// Blocks of the base that the WAL changed, as far as a tree still has their files.
  ///
  /// Of a relation that was cut short everything behind the cut is named, and its maps as a whole: the layers
  /// below may hold pages of what went away, under blocks that came back and were never written.
  /// Blocks the thread.
  /// - Parameter tree: of the line's own volume.
  func changesOfBase(in tree: FileTreeSnapshot) throws -> [EpochFile] {
    let range = (maker.image.oldestRedoLSN, maker.moment)
    var lengths: [FileID: UInt32] = [:]
    for entry in tree.entries where entry.kind == .regular && relations[entry.id] != nil {
      lengths[entry.id] = UInt32(
        clamping: (entry.size + UInt64(blockSize) - 1) / UInt64(blockSize))
    }
    var files: [RelationFile: FileID] = [:]
    for (id, known) in relations where lengths[id] != nil { files[known.file] = id }
    let floors = try floors(in: range)
    var blocks: [FileID: [UInt32]] = [:]
    try maker.chains.blocksTouched(from: range.0, to: range.1) { key in
      let file = RelationFile(holding: key.block, of: key.locator, fork: key.fork)
      if let id = files[file] { blocks[id, default: []].append(key.block - file.firstBlock) }
      return true
    }
    return lengths.keys.sorted().compactMap { id in
      let (length, floor) = (lengths[id]!, floors[id] ?? .max)
      let touched = (blocks[id] ?? []).filter { $0 < min(length, floor) }
      let behind = floor < length ? Array(floor..<length) : []
      if touched.isEmpty && floor == .max { return nil }
      return EpochFile(id: id, floor: floor, blocks: touched + behind)
    }
  }

  /// The least that was left of files between the base and the moment.
  private func floors(in range: (LSN, LSN)) throws -> [FileID: UInt32] {
    var byFork: [RelationFork: UInt32] = [:]
    for cut in try maker.chains.relationCuts(from: range.0, to: range.1) {
      let fork = RelationFork(locator: cut.locator, fork: cut.fork)
      byFork[fork] = min(byFork[fork] ?? .max, cut.fork == .main ? cut.blocks : 0)
    }
    var floors: [FileID: UInt32] = [:]
    for (id, known) in relations {
      let fork = RelationFork(locator: known.file.locator, fork: known.file.fork)
      guard let left = byFork[fork] else { continue }
      let first = known.file.firstBlock
      if left < first &+ PostgresLayout.blocksPerSegment { floors[id] = max(left, first) - first }
    }
    return floors
  }
}

/// What a line's volume reads below its own blocks once a keyframe of the line stands alone.
///
/// State: the tree at the line's beginning; blocks behind a file's end are zeros. Blocks that the volume has
/// written since are in it as well, and are never asked for. A file that was gone when the keyframe was made, and
/// that somebody may still have open, is an error. Concurrency: any thread; calls block.
struct StandaloneBaseView: BaseView {
  let tree: FileTreeSnapshot
  private let layers: LayerStackView
  private let lengths: [FileID: UInt32]
  private let kept: Set<FileID>

  init(tree: FileTreeSnapshot, layers: [LayerReference], storage: LayerStorage) throws {
    self.tree = tree
    self.layers = try LayerStackView(layers: layers, storage: storage)
    var lengths: [FileID: UInt32] = [:]
    for entry in tree.entries where entry.kind == .regular {
      lengths[entry.id] = UInt32(
        clamping: (entry.size + UInt64(blockSize) - 1) / UInt64(blockSize))
    }
    self.lengths = lengths
    kept = Set(self.layers.tree.entries.lazy.map(\.id))
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let length = lengths[file] ?? 0
    let there = length > startBlock ? min(count, Int(length - startBlock)) : 0
    if there > 0 {
      guard kept.contains(file) else {
        throw ComputeError(
          .damagedHistory,
          "read file \(file.rawValue) of the base: it was deleted before the keyframe")
      }
      try layers.read(
        file: file, startBlock: startBlock, count: there, into: PageMaker.slots(buffer, 0, there))
    }
    if there < count {
      PageMaker.slots(buffer, there, count - there).initializeMemory(as: UInt8.self, repeating: 0)
    }
  }
}
