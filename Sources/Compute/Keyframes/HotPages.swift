import History
import PostgresFormat
import Volume

/// The places in a tree of blocks that WAL names; blocks that are not there are left out.
func hotPages(_ blocks: [BlockKey], in tree: FileTreeSnapshot) -> [EpochFile] {
  guard !blocks.isEmpty else { return [] }
  var wanted: [RelationFile: [UInt32]] = [:]
  for key in blocks {
    let file = RelationFile(holding: key.block, of: key.locator, fork: key.fork)
    wanted[file, default: []].append(key.block - file.firstBlock)
  }
  let paths = TreePaths(tree)
  var found: [EpochFile] = []
  for entry in tree.entries where entry.kind == .regular {
    guard case .relation(let file) = DataFileKind(path: paths.path(of: entry)),
      let numbers = wanted[file]
    else { continue }
    let there = numbers.filter { (UInt64($0) + 1) * UInt64(blockSize) <= entry.size }
    if !there.isEmpty {
      found.append(EpochFile(id: entry.id, floor: .max, blocks: there.sorted()))
    }
  }
  return found
}
