import History
import PostgresFormat
import Volume

/// A truncation in the tail, which the server does not replay.
struct RelationTruncation: Hashable, Sendable {
  var startLSN: LSN
  var endLSN: LSN
  /// Length of the main fork.
  var blocks: UInt32
  /// Bits of the visibility map for blocks from `blocks` on are cleared too. Where checksums are on
  /// the map's page follows as an image in a record of its own just before.
  var cutsVisibilityMap: Bool
  var cutsFreeSpaceMap: Bool
}

/// The files at a moment, and what whoever makes their pages must know of the tail besides its
/// block references.
struct MomentTree: Sendable {
  /// Entries that the image does not have carry identities from its `nextFileID` upwards, in the
  /// order of their relations.
  var tree: FileTreeSnapshot
  /// Which part of which relation each relation file of the tree is.
  var relationFiles: [FileID: RelationFile]
  /// For forks made or shortened in the tail: see ``firstUsefulLSN(of:block:)``.
  var cuts: [RelationFork: [TailCut]]
  /// Of relations that exist at the moment, in order.
  var truncations: [RelFileLocator: [RelationTruncation]]
  /// Blocks that the tail named last, newest first: a bounded sample for reading ahead.
  var recentBlocks: [BlockAddress]

  /// Where a block's records begin to count: neither the image's page nor a record below this tells
  /// anything about the block at the moment. `nil` where the image's page and all records count.
  ///
  /// A block below the file's end that no record initialises after this is all zeros.
  func firstUsefulLSN(of fork: RelationFork, block: UInt32) -> LSN? {
    cuts[fork]?.last { $0.firstBlock <= block }?.lsn
  }
}

/// Puts a tree together from the image's and the forks as the tail leaves them.
struct TailTreeResult {
  private(set) var tree: FileTreeSnapshot
  private(set) var files: [RelationFile: FileID] = [:]
  private(set) var cuts: [RelationFork: [TailCut]] = [:]
  private var removed: Set<FileID> = []
  private var added: [(file: RelationFile, size: UInt64)] = []
  private let directories: TailDirectories
  private let modified: Int64

  init(image: FileTreeSnapshot, directories: TailDirectories, modified: Int64) {
    tree = image
    self.directories = directories
    self.modified = modified
    let gone = directories.droppedIDs
    guard !gone.isEmpty else { return }
    for entry in image.entries where gone.contains(entry.id) || gone.contains(entry.parent) {
      removed.insert(entry.id)
    }
  }

  /// Sets sizes of the image's files of a fork, and notes those that are new or gone.
  mutating func place(_ fork: TailFork) {
    guard fork.exists else { return }
    if !fork.cuts.isEmpty { cuts[fork.key] = fork.cuts }
    for segment in 0..<fork.segmentCount {
      let blocks = fork.blocks(ofSegment: segment)
      let file = RelationFile(
        locator: fork.key.locator, fork: fork.key.fork, segment: segment)
      guard let number = fork.imageEntries[segment] else {
        added.append((file, UInt64(blocks) * UInt64(blockSize)))
        continue
      }
      files[file] = tree.entries[number].id
      // A page that was only half written counts for nothing and stays where nothing replaces it.
      if tree.entries[number].size / UInt64(blockSize) != UInt64(blocks) {
        tree.entries[number].size = UInt64(blocks) * UInt64(blockSize)
        tree.entries[number].modified = modified
      }
    }
  }

  /// Files of the image that no fork kept.
  mutating func remove(_ numbers: some Sequence<Int>) {
    for number in numbers { removed.insert(tree.entries[number].id) }
  }

  /// Gives new directories and files their identities and drops what is gone.
  mutating func addNewFiles() {
    // With group access the server makes its files readable for the group.
    let root = tree.entries.first { $0.id == .root }
    let group: UInt16 = (root?.mode ?? 0) & 0o050
    if !removed.isEmpty { tree.entries.removeAll { removed.contains($0.id) } }
    var parents: [DatabaseDirectory: FileID] = [:]
    for directory in directories.made.keys.sorted(by: { $0.order < $1.order }) {
      guard let parent = directories.parent(of: directory) else { continue }
      parents[directory] = add(
        name: "\(directory.database)", in: parent, .directory, mode: 0o700 | group)
    }
    added.sort { $0.file.order < $1.file.order }
    for (file, size) in added {
      let directory = file.locator.directory
      guard let parent = parents[directory] ?? directories.fileID(of: directory) else { continue }
      files[file] = add(
        name: file.name, in: parent, .regular, mode: 0o600 | group & 0o040, size: size)
    }
  }

  private mutating func add(
    name: String, in parent: FileID, _ kind: FileKind, mode: UInt16, size: UInt64 = 0
  ) -> FileID {
    let id = tree.nextFileID
    tree.nextFileID = FileID(id.rawValue + 1)
    tree.entries.append(
      FileTreeEntry(
        id: id, parent: parent, name: name, kind: kind, mode: mode, size: size,
        modified: modified))
    return id
  }

  /// Where a fork's block lies at the moment.
  func address(of block: UInt32, in fork: RelationFork) -> BlockAddress? {
    let file = RelationFile(holding: block, of: fork.locator, fork: fork.fork)
    return files[file].map { BlockAddress(file: $0, block: block - file.firstBlock) }
  }
}

extension DatabaseDirectory {
  fileprivate var order: (UInt32, UInt32) { (tablespace, database) }
}

extension RelationFile {
  fileprivate var order: (UInt32, UInt32, UInt32, UInt8, UInt32) {
    (locator.tablespace, locator.database, locator.relation, fork.rawValue, segment)
  }
}
