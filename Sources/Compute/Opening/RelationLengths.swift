import History
import PostgresFormat
import Volume

/// One fork of a relation.
struct RelationFork: Hashable {
  var locator: RelFileLocator
  var fork: ForkNumber
}

/// Lengths of all relation forks of an image, as replay would find them, and how the tail changes
/// them.
///
/// Crash recovery takes a missing or short file for one that is dropped later and says nothing
/// where it
/// is not (`log_invalid_page` in `xlogutils.c` is checked in archive recovery only). This does that
/// check.
struct RelationLengths {
  /// The image's file for each segment of a fork.
  private var files: [RelationFork: [UInt32: FileID]] = [:]
  /// Blocks of the image that the tail reads, in the order of their first mention.
  private(set) var wanted: [BlockAddress] = []
  private var seen: Set<TailBlock> = []

  private struct TailBlock: Hashable {
    var fork: RelationFork
    var block: UInt32
  }

  /// Blocks of each fork that exists.
  private var blocks: [RelationFork: UInt32] = [:]
  /// References that found no page; each must be explained by a drop or truncation further on.
  private var unexplained: [RelationFork: [UInt32: LSN]] = [:]
  /// Databases made by copying files in the tail: their files are not in it.
  private var copiedDatabases: Set<UInt32> = []

  /// Databases that have a directory in the image, or get one in the tail.
  private var databases: Set<UInt32> = [0]

  /// Takes the lengths from the file names and sizes of a tree.
  init(tree: FileTreeSnapshot) {
    let paths = TreePaths(tree)
    for entry in tree.entries where entry.kind == .regular {
      guard case .relation(let file) = DataFileKind(path: paths.path(of: entry)) else { continue }
      let key = RelationFork(locator: file.locator, fork: file.fork)
      let end = file.firstBlock + UInt32(entry.size / UInt64(blockSize))
      blocks[key] = max(blocks[key] ?? 0, end)
      databases.insert(file.locator.database)
      files[key, default: [:]][file.segment] = entry.id
    }
  }

  /// A record refers to a block; `initializes` where it needs no former content.
  mutating func reference(_ key: RelationFork, block: UInt32, initializes: Bool, at lsn: LSN) {
    if seen.insert(TailBlock(fork: key, block: block)).inserted {
      let (segment, inFile) = block.quotientAndRemainder(
        dividingBy: PostgresLayout.blocksPerSegment)
      if !initializes || key.fork != .main, let file = files[key]?[segment] {
        wanted.append(BlockAddress(file: file, block: inFile))
      }
    }
    let length = blocks[key] ?? 0
    if initializes {
      if block >= length { blocks[key] = block + 1 }
    } else if block >= length || blocks[key] == nil {
      // A database without any file is half dropped: its row says so and nobody can connect to it.
      let database = key.locator.database
      guard databases.contains(database), !copiedDatabases.contains(database) else { return }
      unexplained[key, default: [:]][block] = lsn
    }
  }

  mutating func create(_ key: RelationFork) {
    databases.insert(key.locator.database)
    if blocks[key] == nil { blocks[key] = 0 }
  }

  mutating func truncate(_ locator: RelFileLocator, fork: ForkNumber, to count: UInt32) {
    let key = RelationFork(locator: locator, fork: fork)
    if let length = blocks[key] { blocks[key] = min(length, count) }
    unexplained[key] = unexplained[key]?.filter { $0.key < count }
  }

  mutating func drop(_ locator: RelFileLocator) {
    for fork in ForkNumber.allCases {
      let key = RelationFork(locator: locator, fork: fork)
      blocks[key] = nil
      unexplained[key] = nil
    }
  }

  mutating func dropDatabase(_ database: UInt32) {
    copiedDatabases.remove(database)
    unexplained = unexplained.filter { $0.key.locator.database != database }
    blocks = blocks.filter { $0.key.locator.database != database }
  }

  mutating func copyDatabase(_ database: UInt32) { copiedDatabases.insert(database) }

  /// Throws where a page that replay needs is in neither the image nor the tail.
  func check() throws {
    let open = unexplained.lazy.filter { !$0.value.isEmpty }
    guard let (key, pages) = open.first, let (block, lsn) = pages.min(by: { $0.value < $1.value })
    else { return }
    throw ComputeError(
      .damagedHistory,
      "check the tail against the image: the record at \(lsn) changes block \(block) of relation "
        + "\(key.locator) (\(key.fork)), which the image does not have and nothing drops later",
      hint: "a file of the keyframe's layers is missing or too short; run 'exzo verify'")
  }
}
