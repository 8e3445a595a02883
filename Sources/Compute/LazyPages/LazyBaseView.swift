import Foundation
import Glibc
import History
import Logging
import PageRedo
import PostgresFormat
import Synchronization
import Volume

/// The data directory at a moment whose pages are made when they are read.
///
/// ## Purpose
/// What the volume of a lazily opened moment is a copy of: nothing is replayed before the first query.
///
/// ## State and invariants
/// 1. ``tree`` is the tree at the moment, sizes included; blocks of relations behind a file's end are zeros.
/// 2. A block of a relation is the moment's page: its newest stored page and all records after it up to the
///    moment, through the server's own redo. What cannot be made is an error, never an older page.
/// 3. A page of a free space map is the image's, without what it tells of heap blocks that the moment does not
///    have: the server would try to read those.
/// 4. All other files are as the keyframe has them; the server recovers those from its rewritten tail.
/// 5. A page is made once while the process lives.
///
/// ## Crash
/// Nothing of it is durable; pages are made again.
///
/// ## Concurrency
/// Any thread; calls block. Two threads that want one page may both make it.
final class LazyBaseView: BaseView {
  let tree: FileTreeSnapshot
  let maker: PageMaker
  private let pages: MadePages
  let relations: [FileID: LazyFile]
  private let isClosed = Atomic<Bool>(false)
  private let lastFailure = Mutex<String?>(nil)
  /// Pages made for reads, and ahead of them.
  let made = Atomic<UInt64>(0)
  /// Whether ``makeAhead()`` has come to its end.
  let allMade = Atomic<Bool>(false)
  /// Pages that are kept.
  var madeCount: Int { pages.count }

  /// Blocks made in one go for a read, at most: 1 MiB.
  private static let readBatch = 128
  /// Blocks whose records are found in one go ahead of reads, at first and at most: each part of the WAL is then read
  /// a few times, not once a block. The records are bounded by ``PageMaker/recordLimit``.
  static let aheadBatch = (first: 2048, most: 65_536)
  /// Blocks that are read, sent through redo and kept in one go: copied from hand to hand while they lie in a core's cache.
  private static let redoBatch = 128

  init(tree: FileTreeSnapshot, maker: PageMaker, pages: MadePages) {
    self.tree = tree
    self.maker = maker
    self.pages = pages
    relations = LazyFile.all(in: tree)
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    do {
      try readBlocks(file, startBlock, count, buffer)
    } catch {
      lastFailure.withLock { $0 = "\(error)" }
      throw error
    }
  }

  /// What a server says of a read that failed is an input/output error; this is why.
  var failure: String? { lastFailure.withLock { $0 } }

  private func readBlocks(
    _ file: FileID, _ startBlock: UInt32, _ count: Int, _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let known = relations[file] else {
      return try maker.image.read(
        file: file, startBlock: startBlock, count: count, into: buffer)
    }
    let there = known.blocks > startBlock ? min(count, Int(known.blocks - startBlock)) : 0
    if there < count {
      PageMaker.slots(buffer, there, count - there).initializeMemory(as: UInt8.self, repeating: 0)
    }
    if known.file.fork == .freeSpaceMap {
      return try readFreeSpace(known, file, startBlock, PageMaker.slots(buffer, 0, there))
    }
    var next = 0
    while next < there {
      let length = min(LazyBaseView.readBatch, there - next)
      try read(
        known.file, file, startBlock + UInt32(next), length, PageMaker.slots(buffer, next, length))
      next += length
    }
  }

  /// The free space map is a hint that WAL does not describe.
  private func readFreeSpace(
    _ map: LazyFile, _ file: FileID, _ startBlock: UInt32, _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let count = buffer.count / blockSize
    guard count > 0 else { return }
    try maker.image.read(file: file, startBlock: startBlock, count: count, into: buffer)
    for index in 0..<count {
      let block = map.file.firstBlock + startBlock + UInt32(index)
      let page = PageMaker.slots(buffer, index, 1)
      guard FreeSpaceMapPage.clear(page, block: block, fromHeapBlock: map.mainBlocks) else {
        continue
      }
      if maker.options.contains(.storesChecksum) { DataChecksum.store(in: page, block: block) }
    }
  }

  private func read(
    _ relation: RelationFile, _ file: FileID, _ startBlock: UInt32, _ count: Int,
    _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    var missing: [Int] = []
    for index in 0..<count {
      let address = BlockAddress(file: file, block: startBlock + UInt32(index))
      if try !pages.copy(address, into: PageMaker.slots(buffer, index, 1)) { missing.append(index) }
    }
    guard !missing.isEmpty else { return }
    let wanted = missing.map { self.wanted(relation, file, startBlock + UInt32($0)) }
    if missing.count == count {
      try make(wanted, in: buffer)
      return
    }
    let made = UnsafeMutableRawBufferPointer.allocate(
      byteCount: missing.count * blockSize, alignment: 4096)
    defer { made.deallocate() }
    try make(wanted, in: made)
    for (slot, index) in missing.enumerated() {
      PageMaker.slots(buffer, index, 1)
        .copyMemory(from: UnsafeRawBufferPointer(PageMaker.slots(made, slot, 1)))
    }
  }

  private func wanted(
    _ relation: RelationFile, _ file: FileID, _ block: UInt32
  ) -> PageMaker.Wanted {
    PageMaker.Wanted(
      address: BlockAddress(file: file, block: block),
      key: BlockKey(relation.locator, relation.fork, block: relation.firstBlock + block))
  }

  /// For a reader that waits.
  private func make(
    _ wanted: [PageMaker.Wanted], in buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let batch = RedoBatch()
    var slot = 0
    while slot < wanted.count {
      let chains = try maker.chains(of: wanted[slot...])
      try make(
        wanted[slot..<slot + chains.count], by: chains[...],
        in: PageMaker.slots(buffer, slot, chains.count), with: batch, isUrgent: true)
      slot += chains.count
    }
  }

  private func make(
    _ wanted: ArraySlice<PageMaker.Wanted>, by chains: ArraySlice<PageChain>,
    in buffer: UnsafeMutableRawBufferPointer, with batch: RedoBatch, isUrgent: Bool
  ) throws {
    let results = try maker.make(
      wanted, by: chains, into: buffer, with: batch, isUrgent: isUrgent)
    var next = 0
    while next < results.count {
      let isMade = results[next] == .made
      let end = results[next...].firstIndex { ($0 == .made) != isMade } ?? results.count
      if isMade {
        let first = wanted.startIndex
        try pages.keep(
          wanted[first + next..<first + end].map(\.address),
          UnsafeRawBufferPointer(PageMaker.slots(buffer, next, end - next)))
        made.add(UInt64(end - next), ordering: .relaxed)
      }
      next = end
    }
  }

  // MARK: Ahead of reads

  /// Makes every page that the WAL changed, in order, until all are made or the view is closed.
  ///
  /// Blocks its thread, at low priority. Errors show again when the page is read.
  func makeAhead() throws {
    do {
      try makeAllAhead()
    } catch {
      // Whoever closes the view ends the workers under us.
      guard isClosed.load(ordering: .acquiring) else { throw error }
    }
  }

  private func makeAllAhead() throws {
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    var files: [RelationFile: FileID] = [:]
    for (id, known) in relations where known.file.fork != .freeSpaceMap { files[known.file] = id }
    var wanted: [PageMaker.Wanted] = []
    var limit = LazyBaseView.aheadBatch.first
    try maker.chains.blocksTouched(from: maker.image.oldestRedoLSN, to: maker.moment) { key in
      if isClosed.load(ordering: .relaxed) { return false }
      let file = RelationFile(holding: key.block, of: key.locator, fork: key.fork)
      guard let id = files[file], let known = relations[id] else { return true }
      let address = BlockAddress(file: id, block: key.block - file.firstBlock)
      guard address.block < known.blocks, !pages.holds(address) else { return true }
      wanted.append(PageMaker.Wanted(address: address, key: key))
      if wanted.count >= limit {
        wanted.removeFirst(try makeAhead(wanted))
        limit = min(2 * limit, LazyBaseView.aheadBatch.most)
      }
      return true
    }
    while !wanted.isEmpty, !isClosed.load(ordering: .relaxed) {
      wanted.removeFirst(try makeAhead(wanted))
    }
    guard !isClosed.load(ordering: .relaxed) else { return }
    allMade.store(true, ordering: .releasing)
  }

  /// Makes the first of the blocks, as many as their records allow.
  private func makeAhead(_ wanted: [PageMaker.Wanted]) throws -> Int {
    let chains = try maker.chains(of: wanted[...])
    let batch = RedoBatch()
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(chains.count, LazyBaseView.redoBatch) * blockSize, alignment: 4096)
    defer { buffer.deallocate() }
    for first in stride(from: 0, to: chains.count, by: LazyBaseView.redoBatch) {
      if isClosed.load(ordering: .relaxed) { return first }
      let part = first..<min(first + LazyBaseView.redoBatch, chains.count)
      try make(
        wanted[part], by: chains[part], in: PageMaker.slots(buffer, 0, part.count), with: batch,
        isUrgent: false)
    }
    return chains.count
  }

  /// Ends ``makeAhead()`` and the workers; later reads of pages that were not made fail.
  func close() {
    isClosed.store(true, ordering: .releasing)
    maker.pool.stop()
  }
}

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
