import DurableIO
import ObjectStorage
import PostgresFormat
import Volume

/// A file as the check of its pages sees it while a layer is built.
public struct LayerFile: Sendable {
  public var entry: FileTreeEntry
  /// From the root of the tree, without a leading slash: `base/5/16384`.
  public var path: String
}

/// Checks one block and returns its page's LSN, or `nil` for a block that is not a page.
///
/// Throws where the page is bad: the layer is then not built, see
/// ``HistoryError/Code-swift.enum/badPage``.
public typealias BlockCheck = (_ block: UInt32, _ bytes: UnsafeRawBufferPointer) throws -> LSN?

/// The check for one file's blocks; `nil` for a file that is not checked. Runs on a thread that
/// may block.
public typealias LayerCheck = @Sendable (LayerFile) -> BlockCheck?

/// Builds layers out of what a volume sealed.
struct LayerBuild {
  var line: LineID
  var number: ObjectNumber
  var directory: String
  var fileSystem: any FileSystem
  var layout = LayerLayout()

  /// Writes the blocks of one or more epochs, sealed one after the other, as one layer.
  ///
  /// Where several hold a block, the last one wins. Blocks the thread.
  /// - Parameter covered: the sealed epochs that the layer stands for.
  /// - Throws: what `check` and the epochs throw; spool files are then removed.
  func build(
    _ epochs: [any SealedEpoch], covering covered: ClosedRange<UInt64>, check: LayerCheck?
  ) throws -> SpooledLayer {
    guard let last = epochs.last else {
      preconditionFailure("a layer of no epochs")
    }
    let writer = try LayerWriter(
      line: line, number: number, directory: directory, fileSystem: fileSystem, layout: layout)
    do {
      let tree = last.tree
      let paths = TreePaths(tree)
      var highest = LSN.invalid
      for file in CombinedFiles(epochs).files {
        guard let entry = paths.entry(file.id) else { continue }  // deleted by the end
        let fileCheck = check?(LayerFile(entry: entry, path: paths.path(of: entry)))
        writer.beginFile(file.id, floor: file.floor)
        highest = max(highest, try copy(file, epochs, to: writer, fileCheck))
      }
      return try writer.finish(
        tree: tree, highestPageLSN: highest, epochs: covered)
    } catch {
      writer.discard()
      throw error
    }
  }

  private func copy(
    _ file: CombinedFiles.File, _ epochs: [any SealedEpoch], to writer: LayerWriter,
    _ check: BlockCheck?
  ) throws -> LSN {
    var highest = LSN.invalid
    for (block, epoch) in file.blocks {
      try writer.append(block: block) { buffer in
        try epochs[epoch].readBlock(file: file.id, block: block, into: buffer)
        if let lsn = try check?(block, UnsafeRawBufferPointer(buffer)) {
          highest = max(highest, lsn)
        }
      }
    }
    return highest
  }
}

/// The files that changed in some epochs, and which of them has each block's last image.
struct CombinedFiles {
  struct File {
    var id: FileID
    var floor: UInt32
    /// Ascending; with the index of the epoch to read from.
    var blocks: [(block: UInt32, epoch: Int)]
  }

  /// In order of identity.
  let files: [File]

  init(_ epochs: [any SealedEpoch]) {
    var files: [FileID: File] = [:]
    for (number, epoch) in epochs.enumerated() {
      for file in epoch.files {
        let own = file.blocks.map { (block: $0, epoch: number) }
        guard let older = files[file.id] else {
          files[file.id] = File(id: file.id, floor: file.floor, blocks: own)
          continue
        }
        files[file.id] = File(
          id: file.id, floor: min(older.floor, file.floor),
          blocks: CombinedFiles.merge(
            older.blocks.filter { $0.block < file.floor }, own))
      }
    }
    self.files = files.values.sorted { $0.id < $1.id }
  }

  private static func merge(
    _ older: [(block: UInt32, epoch: Int)], _ newer: [(block: UInt32, epoch: Int)]
  ) -> [(block: UInt32, epoch: Int)] {
    var result: [(block: UInt32, epoch: Int)] = []
    result.reserveCapacity(older.count + newer.count)
    var next = 0
    for block in older {
      while next < newer.count, newer[next].block < block.block {
        result.append(newer[next])
        next += 1
      }
      if next < newer.count, newer[next].block == block.block { continue }
      result.append(block)
    }
    result.append(contentsOf: newer[next...])
    return result
  }
}

/// A tree's entries by identity, and their paths.
package struct TreePaths {
  private let entries: [FileID: FileTreeEntry]

  package init(_ tree: FileTreeSnapshot) {
    entries = Dictionary(tree.entries.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
  }

  func entry(_ id: FileID) -> FileTreeEntry? { entries[id] }

  /// `nil` for a file that is not in the tree.
  package func path(of id: FileID) -> String? { entries[id].map { path(of: $0) } }

  /// From the root, without a leading slash; empty for the root.
  package func path(of entry: FileTreeEntry) -> String {
    var names: [String] = []
    var current = entry
    // A tree from a damaged volume might loop; no path is deeper than the tree has entries.
    while current.id != .root, names.count < entries.count {
      names.append(current.name)
      guard let parent = entries[current.parent] else { break }
      current = parent
    }
    return names.reversed().joined(separator: "/")
  }
}
