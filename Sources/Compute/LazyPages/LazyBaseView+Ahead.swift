import Foundation
import Glibc
import History
import PageRedo
import PostgresFormat
import Volume

/// Pages that are made before they are read.
extension LazyBaseView {
  /// Blocks whose records are found in one go ahead of reads, at first and at most: each part of the WAL is then read
  /// a few times, not once a block. The records are bounded by ``PageMaker/recordLimit``.
  private static let aheadBatch = (first: 2048, most: 65_536)
  /// Blocks that are read, sent through redo and kept in one go: copied from hand to hand while they lie in a core's cache.
  private static let redoBatch = 128
  /// More readers than this do not wait for lots but make their pages, so that the mount's threads do not all wait.
  private static let waitingLimit = 8

  /// Readers that wait for nothing so long have their first answers.
  private static let rest = (nanoseconds: UInt64(300_000_000), limit: UInt64(10_000_000_000))

  // MARK: All that changed

  /// Blocks until readers have not waited for a page for a moment, at most 10 s: what nobody has asked for yet takes
  /// neither processor nor bucket from the first answers.
  func waitUntilReadersRest() {
    let started = DispatchTime.now().uptimeNanoseconds
    while !isClosed.load(ordering: .relaxed) {
      let now = DispatchTime.now().uptimeNanoseconds
      let since = max(started, lastWait.load(ordering: .relaxed))
      let isResting =
        readers.load(ordering: .relaxed) == 0 && now >= since + LazyBaseView.rest.nanoseconds
      if isResting || now - started >= LazyBaseView.rest.limit { return }
      usleep(20_000)
    }
  }

  /// Makes every page that the WAL changed, in order, until all are made or the view is closed.
  ///
  /// Blocks its thread, at low priority, also while the disk has no room. Errors show again when the page is read;
  /// pages that the history does not give are passed over, a few of them (``PagesNotMade``).
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
    notMade.withLock { $0 = PagesNotMade() }
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
        wanted.removeFirst(try makeWhatCanBe(of: wanted[...]))
        limit = min(2 * limit, LazyBaseView.aheadBatch.most)
      }
      return true
    }
    while !wanted.isEmpty, !isClosed.load(ordering: .relaxed) {
      wanted.removeFirst(try makeWhatCanBe(of: wanted[...]))
    }
    guard !isClosed.load(ordering: .relaxed), notMade.withLock({ $0.count == 0 }) else { return }
    allMade.store(true, ordering: .releasing)
  }

  /// Makes the first of the blocks; one that the history does not give, found by halving, is passed over.
  /// - Returns: how many are done with, at least one unless the view was closed.
  private func makeWhatCanBe(of wanted: ArraySlice<PageMaker.Wanted>) throws -> Int {
    while try !pages.hasRoom() {
      if isClosed.load(ordering: .relaxed) { return 0 }
      notMade.withLock { $0.waitsForRoom = true }
      sleep(5)
    }
    notMade.withLock { $0.waitsForRoom = false }
    do {
      return try makeFirst(of: Array(wanted), isUrgent: false)
    } catch {
      guard !isClosed.load(ordering: .relaxed), PagesNotMade.isOfHistory(error) else { throw error }
      if wanted.count > 1 { return try makeWhatCanBe(of: wanted.prefix(wanted.count / 2)) }
      try notMade.withLock { try $0.note(error) }
      return 1
    }
  }

  /// Makes the first of the blocks, as many as their records allow.
  /// - Parameter passed: told of blocks that are made, or of which the image's page is the moment's.
  /// - Returns: their number; where the view was closed meanwhile, those that were done.
  private func makeFirst(
    of wanted: [PageMaker.Wanted], isUrgent: Bool,
    passed: (_ last: BlockAddress, _ unchanged: [UInt32]) -> Void = { _, _ in }
  ) throws -> Int {
    let chains = try maker.chains(of: wanted[...])
    let batch = RedoBatch()
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(chains.count, LazyBaseView.redoBatch) * blockSize, alignment: 4096)
    defer { buffer.deallocate() }
    for first in stride(from: 0, to: chains.count, by: LazyBaseView.redoBatch) {
      if isClosed.load(ordering: .relaxed) { return first }
      let part = first..<min(first + LazyBaseView.redoBatch, chains.count)
      // Readers may have made some since.
      let open = part.filter { !chains[$0].isUnchanged && !pages.holds(wanted[$0].address) }
      if !open.isEmpty {
        try make(
          open.map { wanted[$0] }[...], by: open.map { chains[$0] }[...],
          in: PageMaker.slots(buffer, 0, open.count), with: batch, isUrgent: isUrgent)
      }
      passed(
        wanted[part.upperBound - 1].address,
        part.filter { chains[$0].isUnchanged }.map { wanted[$0].address.block })
    }
    return chains.count
  }

  // MARK: Of a file that is read in order

  /// The lot that makes a read's pages, where its file is read in order; blocks until it has made them if the read goes
  /// on in order.
  func lot(of file: FileID, _ known: LazyFile, _ blocks: Range<UInt32>) -> PageLot? {
    let answer = inOrder.note(file, blocks, end: known.blocks)
    if answer.isNew, let lot = answer.lot { start(lot, of: file, known) }
    if let lot = answer.following { start(lot, of: file, known) }
    guard let lot = answer.lot else { return nil }
    defer { waiting.subtract(1, ordering: .relaxed) }
    if waiting.add(1, ordering: .relaxed).oldValue < LazyBaseView.waitingLimit, answer.isInOrder {
      lot.wait(until: blocks.upperBound)
    }
    return lot
  }

  private func start(_ lot: PageLot, of file: FileID, _ known: LazyFile) {
    Thread.detachNewThread { [self] in
      defer { lot.end() }
      // Whoever misses a page makes it, and then has the error.
      try? make(lot, of: file, known)
    }
  }

  private func make(_ lot: PageLot, of file: FileID, _ known: LazyFile) throws {
    var rest = lot.blocks.filter { !pages.holds(BlockAddress(file: file, block: $0)) }
      .map { wanted(known.file, file, $0) }
    while !rest.isEmpty, !isClosed.load(ordering: .relaxed) {
      lotRoom.wait()
      defer { lotRoom.signal() }
      let count = try makeFirst(of: rest, isUrgent: true) { last, unchanged in
        lot.pass(to: last.block + 1, unchanged: unchanged)
      }
      rest.removeFirst(count)
    }
  }
}

extension PageChain {
  /// Whether the image's page is the moment's.
  fileprivate var isUnchanged: Bool { records.isEmpty && origin != .removed }
}
