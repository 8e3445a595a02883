import Foundation
import Glibc
import History
import Logging
import PostgresFormat
import Synchronization
import Volume

/// The data directory at a moment whose pages are made when they are read.
///
/// ## Purpose
/// What the volume of a lazily opened moment is a copy of: nothing is replayed before the first query.
///
/// ## State and invariants
/// 1. ``tree`` is the tree at the moment, sizes included.
/// 2. A block of a relation is the moment's page: its newest stored page and all records after it up to the
///    moment, through the server's own redo. What cannot be made is an error, never an older page.
/// 3. All other files are as the keyframe has them; the server recovers those from its rewritten tail.
/// 4. A page is made once while the process lives.
///
/// ## Crash
/// Nothing of it is durable; pages are made again.
///
/// ## Concurrency
/// Any thread; calls block. Two threads that want one page may both make it.
final class LazyBaseView: BaseView {
  let tree: FileTreeSnapshot
  private let maker: PageMaker
  private let pages: MadePages
  private let relations: [FileID: RelationFile]
  private let isClosed = Atomic<Bool>(false)
  /// Pages made for reads, and ahead of them.
  let made = Atomic<UInt64>(0)

  /// Blocks made in one go for a read, at most: 1 MiB.
  private static let readBatch = 128
  /// Blocks made in one go ahead of reads: each part of the WAL is then read a few times, not once a block.
  static let aheadBatch = 8192

  init(tree: FileTreeSnapshot, maker: PageMaker, pages: MadePages) {
    self.tree = tree
    self.maker = maker
    self.pages = pages
    let paths = TreePaths(tree)
    var relations: [FileID: RelationFile] = [:]
    for entry in tree.entries where entry.kind == .regular {
      // The free space map is a hint that WAL does not describe: the image's is used as it is.
      if case .relation(let file) = DataFileKind(path: paths.path(of: entry)),
        file.fork != .freeSpaceMap
      {
        relations[entry.id] = file
      }
    }
    self.relations = relations
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    guard let relation = relations[file] else {
      var redoLSNs = [LSN](repeating: .invalid, count: count)
      try redoLSNs.withUnsafeMutableBufferPointer {
        try maker.image.read(
          file: file, startBlock: startBlock, count: count, into: buffer, redoLSNs: $0)
      }
      return
    }
    var next = 0
    while next < count {
      let length = min(LazyBaseView.readBatch, count - next)
      try read(
        relation, file, startBlock + UInt32(next), length, PageMaker.slots(buffer, next, length))
      next += length
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

  private func make(
    _ wanted: [PageMaker.Wanted], in buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let results = try maker.make(wanted, into: buffer)
    for (index, result) in results.enumerated() {
      guard case .made = result else { continue }
      try pages.keep(
        wanted[index].address, UnsafeRawBufferPointer(PageMaker.slots(buffer, index, 1)))
      made.add(1, ordering: .relaxed)
    }
  }

  // MARK: Ahead of reads

  /// Makes every page that the WAL changed, in order, until all are made or the view is closed.
  ///
  /// Blocks its thread, at low priority. Errors show again when the page is read.
  func makeAhead() throws {
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    var files: [RelationFile: FileID] = [:]
    for (id, file) in relations { files[file] = id }
    let sizes = Dictionary(
      tree.entries.map { ($0.id, $0.size) }, uniquingKeysWith: { first, _ in first })
    var batch: [PageMaker.Wanted] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: LazyBaseView.aheadBatch * blockSize, alignment: 4096)
    defer { buffer.deallocate() }
    func flush() throws {
      try make(batch, in: PageMaker.slots(buffer, 0, batch.count))
      batch.removeAll(keepingCapacity: true)
    }
    try maker.chains.blocksTouched(from: maker.image.oldestRedoLSN, to: maker.moment) { key in
      if isClosed.load(ordering: .relaxed) { return false }
      let file = RelationFile(holding: key.block, of: key.locator, fork: key.fork)
      guard let id = files[file] else { return true }
      let address = BlockAddress(file: id, block: key.block - file.firstBlock)
      let isThere = UInt64(address.block) * UInt64(blockSize) < sizes[id] ?? 0
      guard isThere, !pages.holds(address) else { return true }
      batch.append(PageMaker.Wanted(address: address, key: key))
      if batch.count == LazyBaseView.aheadBatch { try flush() }
      return true
    }
    if !isClosed.load(ordering: .relaxed) { try flush() }
  }

  /// Ends ``makeAhead()`` and the workers; later reads of pages that were not made fail.
  func close() {
    isClosed.store(true, ordering: .relaxed)
    maker.pool.stop()
  }
}
