import History
import PostgresFormat
import Volume

/// The file tree that replay of a tail would leave, computed from the tail's records alone.
///
/// *Purpose.* A moment that is opened without replay shows its files and their sizes from the first
/// `stat`, while their pages are made when they are read.
///
/// *State and invariants.* Records come in order. A fork is created, extended, shortened and dropped
/// as the redo functions do it (`xlogutils.c`, `md.c`, `storage.c`, `visibilitymap.c`), so that sizes
/// are those of a cluster that replayed the tail, but for the free space map: redo extends it where a
/// page has little space left, which no record says, and the server takes it for a hint.
///
/// *Not guarded here.* Files that the server's own replay makes (`PG_VERSION`, `pg_filenode.map`,
/// `pg_twophase`, …) are not in it; unlogged relations travel as their init fork, from which the
/// server makes the rest when recovery ends.
struct TailTree {
  private let image: FileTreeSnapshot
  private var forks: [TailFork] = []
  private var numbers: [RelationFork: Int] = [:]
  /// The last forks looked up; a direct-mapped cache before `numbers`.
  private var cache = [Int32](repeating: -1, count: 256)
  private var directories: TailDirectories
  private var recent: RecentBlocks
  /// Databases that hold or held a relation file, so that a missing one is a fault.
  private var databasesWithFiles: Set<UInt32> = [0]
  private var droppedRelations: Set<RelFileLocator> = []
  /// Entries of the image, by their place in it, whose files the tail drops.
  private var removedEntries: [Int] = []
  /// Truncations of heaps and indexes, by relation, in order.
  private var truncations: [RelFileLocator: [RelationTruncation]] = [:]
  private(set) var fallback: TailRewriter.Fallback?

  /// - Parameters:
  ///   - image: the tree of the keyframe, without what stays behind.
  ///   - recentLimit: blocks to name for reading ahead, at most; rounded up to a power of two.
  init(image: FileTreeSnapshot, format: PostgresMajor, recentLimit: Int) {
    self.image = image
    recent = RecentBlocks(limit: recentLimit)
    directories = TailDirectories(image: image, format: format)
    for (number, entry) in image.entries.enumerated() where entry.kind == .regular {
      guard let directory = directories.byFileID[entry.parent],
        let file = RelationFile(fileName: entry.name, in: directory), file.temporaryBackend == nil
      else { continue }
      databasesWithFiles.insert(directory.database)
      let fork = index(of: RelationFork(locator: file.locator, fork: file.fork))
      forks[fork].adopt(segment: file.segment, entry: number)
    }
    for number in forks.indices { forks[number].measure { image.entries[$0].size } }
  }

  // MARK: Records

  /// Takes the next record.
  mutating func observe(_ record: WALRecordView, _ role: RecordRole) throws {
    switch role {
    case .pages: takePages(record)
    case .truncation, .state: try takeState(record)
    case .hard: break
    }
  }

  private mutating func takePages(_ record: WALRecordView) {
    let isLogImage = record.resourceManager == .xlog
    for block in record.blockReferences {
      // Redo passes over a hint's page that has no image (`xlog_redo`).
      if isLogImage && !block.appliesImage { continue }
      // The maps are read with RBM_ZERO_ON_ERROR, which extends.
      let isMap = block.fork == .visibilityMap || block.fork == .freeSpaceMap
      reference(
        RelationFork(locator: block.locator, fork: block.fork), block.block,
        extends: block.startsPage || isMap, at: record.startLSN)
    }
    guard record.resourceManager == .heap || record.resourceManager == .heap2 else { return }
    let cleared = record.clearedVisibility
    if let first = cleared.first { clearVisibility(of: first, at: record.startLSN) }
    if let second = cleared.second { clearVisibility(of: second, at: record.startLSN) }
  }

  private mutating func clearVisibility(of block: BlockReference, at lsn: LSN) {
    reference(
      RelationFork(locator: block.locator, fork: .visibilityMap),
      ClearedVisibility.mapBlock(ofHeapBlock: block.block), extends: true, at: lsn)
  }

  private mutating func takeState(_ record: WALRecordView) throws {
    switch record.resourceManager {
    case .transaction, .storage, .database: break
    default: return
    }
    let lsn = record.startLSN
    switch try record.content() {
    case .transactionEnd(let end):
      for locator in end.droppedRelations { drop(locator) }
    case .fileCreate(let locator, let fork):
      databasesWithFiles.insert(locator.database)
      create(index(of: RelationFork(locator: locator, fork: fork)), at: lsn)
    case .fileTruncate(let locator, let count, let which):
      truncate(locator, to: count, which, record)
    case .databaseCreate(let directory): makeDirectory(directory, at: lsn)
    case .databaseDrop(let database, let tablespaces):
      for tablespace in tablespaces {
        dropDirectory(DatabaseDirectory(tablespace: tablespace, database: database))
      }
    default: break
    }
  }

  // MARK: What they do

  @inline(__always)
  private mutating func index(of key: RelationFork) -> Int {
    let place = Int(key.locator.relation &* 31 &+ UInt32(key.fork.rawValue)) & 255
    let cached = Int(cache[place])
    if cached >= 0, forks[cached].key == key { return cached }
    let number = numbers[key] ?? forks.count
    if number == forks.count {
      forks.append(TailFork(key: key))
      numbers[key] = number
    }
    cache[place] = Int32(truncatingIfNeeded: number)
    return number
  }

  @inline(__always)
  private mutating func reference(
    _ key: RelationFork, _ block: UInt32, extends: Bool, at lsn: LSN
  ) {
    let number = index(of: key)
    recent.note(fork: number, block: block)
    if block < forks[number].blocks { return }
    create(number, at: lsn)
    if extends { return forks[number].extend(toInclude: block) }
    // A database without any file is half dropped: its row says so and nobody can connect to it.
    guard databasesWithFiles.contains(key.locator.database) else { return }
    forks[number].unexplained[block] = lsn
  }

  private mutating func create(_ number: Int, at lsn: LSN) {
    guard !forks[number].exists else { return }
    makeDirectory(forks[number].key.directory, at: lsn)
    forks[number].create(at: lsn)
  }

  private mutating func makeDirectory(_ directory: DatabaseDirectory, at lsn: LSN) {
    if directories.canMake(directory) { return directories.make(directory, at: lsn) }
    if fallback == nil { fallback = TailRewriter.Fallback(reason: .tablespace, lsn: lsn) }
  }

  private mutating func truncate(
    _ locator: RelFileLocator, to count: UInt32, _ which: TruncatedForks, _ record: WALRecordView
  ) {
    let lsn = record.startLSN
    let main = index(of: RelationFork(locator: locator, fork: .main))
    create(main, at: lsn)
    truncations[locator, default: []].append(
      RelationTruncation(
        startLSN: lsn, endLSN: record.endLSN, blocks: count,
        cutsVisibilityMap: which.contains(.visibilityMap),
        cutsFreeSpaceMap: which.contains(.freeSpaceMap)))
    if which.contains(.main) { forks[main].truncate(to: count, at: lsn) }
    func follow(_ fork: ForkNumber, _ blocks: UInt32) {
      let key = RelationFork(locator: locator, fork: fork)
      guard let map = numbers[key], forks[map].exists else { return }
      forks[map].truncate(to: blocks, at: lsn)
    }
    if which.contains(.freeSpaceMap) {
      follow(.freeSpaceMap, RelationMaps.freeSpaceMapBlocks(ofHeapBlocks: count))
    }
    if which.contains(.visibilityMap) {
      follow(.visibilityMap, RelationMaps.visibilityMapBlocks(ofHeapBlocks: count))
    }
  }

  private mutating func drop(_ locator: RelFileLocator) {
    droppedRelations.insert(locator)
    truncations[locator] = nil
    for fork in ForkNumber.allCases {
      if let number = numbers[RelationFork(locator: locator, fork: fork)] { dropFork(number) }
    }
  }

  private mutating func dropFork(_ number: Int) {
    removedEntries += forks[number].imageEntries.values
    forks[number].drop()
  }

  private mutating func dropDirectory(_ directory: DatabaseDirectory) {
    for number in forks.indices where forks[number].key.directory == directory { dropFork(number) }
    truncations = truncations.filter { $0.key.directory != directory }
    directories.drop(directory)
  }
}

// MARK: - The result

extension TailTree {
  /// What replay would have left.
  ///
  /// - Parameter modified: the time that new and changed files carry; nanoseconds since 1970.
  /// - Returns: `nil` where the tail needs the server's own replay: see ``fallback``.
  /// - Throws: ``ComputeError`` `.damagedHistory` where a page that replay needs is in neither the
  ///   image nor the tail.
  mutating func finish(modified: Int64) throws -> MomentTree? {
    if fallback == nil, let again = madeAgain() {
      fallback = TailRewriter.Fallback(reason: .madeAgain, lsn: again)
    }
    guard fallback == nil else { return nil }
    try check()
    var result = TailTreeResult(image: image, directories: directories, modified: modified)
    result.remove(removedEntries)
    for fork in forks { result.place(fork) }
    result.addNewFiles()
    return MomentTree(
      tree: result.tree,
      relationFiles: Dictionary(uniqueKeysWithValues: result.files.map { ($1, $0) }),
      cuts: result.cuts,
      truncations: truncations,
      recentBlocks: recent.all.compactMap { number, block in
        block < forks[number].blocks ? result.address(of: block, in: forks[number].key) : nil
      })
  }

  /// Where something was made under a name that the tail had dropped before.
  ///
  /// Replay of the drop would remove what the tree shows.
  private func madeAgain() -> LSN? {
    let again = forks.lazy.filter { $0.exists && droppedRelations.contains($0.key.locator) }
    return again.compactMap { $0.cuts.first?.lsn }.min() ?? directories.firstMadeAgain
  }

  /// Crash recovery takes a missing or short file for one that is dropped later and says nothing
  /// where it is not (`log_invalid_page` in `xlogutils.c` is checked in archive recovery only).
  private func check() throws {
    let open = forks.lazy.filter { !$0.unexplained.isEmpty }
    guard let fork = open.min(by: { first($0) < first($1) }),
      let (block, lsn) = fork.unexplained.min(by: { $0.value < $1.value })
    else { return }
    throw ComputeError(
      .damagedHistory,
      "check the tail against the image: the record at \(lsn) changes block \(block) of relation "
        + "\(fork.key.locator) (\(fork.key.fork)), which the image does not have and nothing drops "
        + "later",
      hint: "a file of the keyframe's layers is missing or too short; run 'exzo verify'")
  }

  private func first(_ fork: TailFork) -> LSN { fork.unexplained.values.min() ?? .invalid }
}

extension RelationFork {
  var directory: DatabaseDirectory { locator.directory }
}

extension RelFileLocator {
  var directory: DatabaseDirectory {
    DatabaseDirectory(tablespace: tablespace, database: database)
  }
}
