import History
import PostgresFormat
import Volume

/// What each file of a data directory is to the volume.
///
/// Files that mean nothing to another start of the server live outside history; relation and SLRU
/// files are
/// made of pages that must never be half there; `pg_control` tells when a checkpoint is complete.
@Sendable func fileClass(path: String, kind: FileKind) -> FileClass {
  // The directories themselves must outlive a restart: the server does not make them again.
  if kind == .directory && !path.contains("pgsql_tmp") { return .persistent }
  let file = DataFileKind(path: path)
  if file.isTransient { return .outsideHistory }
  if file == .control { return FileClass(hasAtomicBlocks: true, isObserved: true) }
  if case .relation(let relation) = file {
    return FileClass(hasAtomicBlocks: true, firstBlock: relation.firstBlock)
  }
  return file.isPaged ? .atomicBlocks : .persistent
}

/// Whether a file is left out when a moment is opened: it belongs to the parent's running server or
/// to its place in a replication set-up.
func staysBehind(path: String, kind: FileKind) -> Bool {
  guard kind != .directory else {
    // A slot is a directory of its own below pg_replslot.
    return path.hasPrefix("pg_replslot/")
  }
  let file = DataFileKind(path: path)
  return file.isTransient || file == .instance
}

/// The tree without what matches, nor anything below it.
func removing(
  from tree: FileTreeSnapshot, where matches: (String, FileTreeEntry) -> Bool
) -> FileTreeSnapshot {
  let paths = TreePaths(tree)
  var kept = tree
  kept.entries = tree.entries.filter { entry in
    entry.id == .root || !matches(paths.path(of: entry), entry)
  }
  return kept
}

/// The image of a keyframe as a new compute sees it.
struct BranchBaseView: BaseView {
  let image: any BaseView
  let tree: FileTreeSnapshot

  init(_ image: any BaseView) {
    self.image = image
    tree = removing(from: image.tree) { staysBehind(path: $0, kind: $1.kind) }
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    try image.read(file: file, startBlock: startBlock, count: count, into: buffer)
  }
}

/// A sealed epoch as history keeps it: unlogged relations travel as their init fork only.
struct HistoryEpoch: SealedEpoch {
  let epoch: any SealedEpoch
  let tree: FileTreeSnapshot
  let files: [EpochFile]
  /// Epochs that the line had before its volume was made.
  private let offset: UInt64

  init(_ epoch: any SealedEpoch, offset: UInt64 = 0) {
    self.epoch = epoch
    self.offset = offset
    let unlogged = unloggedFiles(of: epoch.tree)
    guard !unlogged.isEmpty else {
      tree = epoch.tree
      files = epoch.files
      return
    }
    tree = removing(from: epoch.tree) { _, entry in unlogged.contains(entry.id) }
    files = epoch.files.filter { !unlogged.contains($0.id) }
  }

  var number: UInt64 { epoch.number + offset }
  /// Under the volume's own number.
  var ofVolume: HistoryEpoch { offset == 0 ? self : HistoryEpoch(epoch) }

  func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    try epoch.readBlock(file: file, block: block, into: buffer)
  }
}

/// The files of relations that have an init fork, but for that fork.
private func unloggedFiles(of tree: FileTreeSnapshot) -> Set<FileID> {
  let candidates = tree.entries.filter { $0.kind == .regular && $0.name.contains("_init") }
  guard !candidates.isEmpty else { return [] }
  let paths = TreePaths(tree)
  var unlogged: Set<RelFileLocator> = []
  for entry in candidates {
    if case .relation(let file) = DataFileKind(path: paths.path(of: entry)),
      file.fork == .initialization
    {
      unlogged.insert(file.locator)
    }
  }
  guard !unlogged.isEmpty else { return [] }
  var found: Set<FileID> = []
  for entry in tree.entries where entry.kind == .regular {
    if case .relation(let file) = DataFileKind(path: paths.path(of: entry)),
      file.fork != .initialization, unlogged.contains(file.locator)
    {
      found.insert(entry.id)
    }
  }
  return found
}
