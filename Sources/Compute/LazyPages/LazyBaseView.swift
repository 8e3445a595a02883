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
/// 6. Where a file is read in order, its pages are made in lots ahead of the reader (``SequentialReads``).
///
/// ## Crash
/// Nothing of it is durable; pages are made again.
///
/// ## Concurrency
/// Any thread; calls block. Two threads that want one page may both make it.
final class LazyBaseView: BaseView {
  let tree: FileTreeSnapshot
  let maker: PageMaker
  let pages: MadePages
  let relations: [FileID: LazyFile]
  let inOrder = SequentialReads()
  /// Readers that wait for a lot.
  let waiting = Atomic<Int>(0)
  /// Lots whose records are held in memory at once.
  let lotRoom = DispatchSemaphore(value: 2)
  let isClosed = Atomic<Bool>(false)
  private let lastFailure = Mutex<(any Error)?>(nil)
  /// Pages that could not be made ahead of reads.
  let notMade = Mutex(PagesNotMade())
  /// Pages made for reads, and ahead of them.
  let made = Atomic<UInt64>(0)
  /// Reads of relations under way.
  let readers = Atomic<Int>(0)
  /// When a reader last waited for a page, on the monotonic clock: nanoseconds.
  let lastWait = Atomic<UInt64>(0)
  /// Whether ``makeAhead()`` has come to its end.
  let allMade = Atomic<Bool>(false)
  /// Pages that are kept.
  var madeCount: Int { pages.count }

  /// Blocks made in one go for a read, at most: 1 MiB.
  private static let readBatch = 128

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
      lastFailure.withLock { $0 = error }
      throw error
    }
  }

  /// What a server says of a read that failed is an input/output error; this is why.
  var failure: (any Error)? { lastFailure.withLock { $0 } }

  private func readBlocks(
    _ file: FileID, _ startBlock: UInt32, _ count: Int, _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let known = relations[file] else {
      return try maker.image.read(
        file: file, startBlock: startBlock, count: count, into: buffer)
    }
    readers.add(1, ordering: .relaxed)
    defer { readers.subtract(1, ordering: .relaxed) }
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
        known, file, startBlock + UInt32(next), length, PageMaker.slots(buffer, next, length))
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
    _ known: LazyFile, _ file: FileID, _ startBlock: UInt32, _ count: Int,
    _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let lot = lot(of: file, known, startBlock..<startBlock + UInt32(count))
    var missing: [Int] = []
    var unchanged: [Int] = []
    for index in 0..<count {
      let address = BlockAddress(file: file, block: startBlock + UInt32(index))
      if try pages.copy(address, into: PageMaker.slots(buffer, index, 1)) { continue }
      if lot?.isUnchanged(address.block) ?? false {
        unchanged.append(index)
      } else {
        missing.append(index)
      }
    }
    try readImage(file, startBlock, unchanged, buffer)
    guard !missing.isEmpty else { return }
    let wanted = missing.map { self.wanted(known.file, file, startBlock + UInt32($0)) }
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

  /// Reads some blocks of the image, by their ascending distances from `startBlock`, each into its place.
  private func readImage(
    _ file: FileID, _ startBlock: UInt32, _ indices: [Int], _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    var next = 0
    while next < indices.count {
      let first = indices[next]
      let length = indices[next...].enumerated().prefix { $0.element == first + $0.offset }.count
      try maker.image.read(
        file: file, startBlock: startBlock + UInt32(first), count: length,
        into: PageMaker.slots(buffer, first, length))
      next += length
    }
  }

  func wanted(
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
    lastWait.store(DispatchTime.now().uptimeNanoseconds, ordering: .relaxed)
    defer { lastWait.store(DispatchTime.now().uptimeNanoseconds, ordering: .relaxed) }
    while slot < wanted.count {
      let chains = try maker.chains(of: wanted[slot...])
      try make(
        wanted[slot..<slot + chains.count], by: chains[...],
        in: PageMaker.slots(buffer, slot, chains.count), with: batch, isUrgent: true)
      slot += chains.count
    }
  }

  func make(
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
        let addresses = wanted[first + next..<first + end].map(\.address)
        let bytes = UnsafeRawBufferPointer(PageMaker.slots(buffer, next, end - next))
        // A reader has its page in any case; what is made ahead of it must be found again.
        if isUrgent {
          try pages.keepIfThereIsRoom(addresses, bytes)
        } else {
          try pages.keep(addresses, bytes)
        }
        made.add(UInt64(end - next), ordering: .relaxed)
      }
      next = end
    }
  }

  /// As ``close()``, without waiting for the workers.
  func discard() {
    isClosed.store(true, ordering: .releasing)
    maker.pool.discard()
  }

  /// Ends ``makeAhead()``, the lots and the workers; later reads of pages that were not made fail.
  func close() {
    isClosed.store(true, ordering: .releasing)
    maker.pool.stop()
  }
}
