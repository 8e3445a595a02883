import History
import PostgresFormat
import Volume

/// A file of a relation as it is at a moment.
struct LazyFile: Sendable {
  var file: RelationFile
  /// Length of the file; a page that is there in part counts.
  var blocks: UInt32
  /// Of a free space map: length of the relation that it is the map of, over all segments.
  var mainBlocks: UInt32 = 0

  static func all(in tree: FileTreeSnapshot) -> [FileID: LazyFile] {
    let paths = TreePaths(tree)
    var found: [FileID: LazyFile] = [:]
    var lengths: [RelFileLocator: UInt32] = [:]
    for entry in tree.entries where entry.kind == .regular {
      guard case .relation(let file) = DataFileKind(path: paths.path(of: entry)) else { continue }
      let blocks = UInt32(clamping: (entry.size + UInt64(blockSize) - 1) / UInt64(blockSize))
      found[entry.id] = LazyFile(file: file, blocks: blocks)
      if file.fork == .main, file.temporaryBackend == nil, blocks > 0 {
        lengths[file.locator] = max(lengths[file.locator] ?? 0, file.firstBlock + blocks)
      }
    }
    for (id, known) in found where known.file.fork == .freeSpaceMap {
      found[id]?.mainBlocks = lengths[known.file.locator] ?? 0
    }
    return found
  }
}
