import History
import PageRedo
import PostgresFormat
import Volume

/// Brings blocks of relations to a moment: the newest stored page, and the WAL after it through redo.
///
/// Knows nothing of files that are being written or of what was made before. Concurrency: any thread;
/// blocks on the store and on redo workers.
struct PageMaker: Sendable {
  let image: GroupedImage
  let chains: ChainReader
  let pool: RedoPool
  let options: PageOptions
  /// End of a whole record.
  let moment: LSN

  /// A block by its place in the image and by its name in the WAL.
  struct Wanted {
    var address: BlockAddress
    var key: BlockKey
  }

  /// What became of one block.
  enum Made {
    /// The image's page is the moment's.
    case unchanged
    case made
  }

  /// Records held in memory at once, and their bytes, but for a single block that has more: of small records some 40 MiB;
  /// a page that was loaded by `COPY` has one of its own size.
  static let recordLimit = 200_000
  static let byteLimit = 96 << 20

  /// What the first of some blocks need: their chains, in the blocks' order.
  ///
  /// As many blocks as their records allow (``recordLimit``, ``byteLimit``), at least one. Reads the indices and the WAL; memory for
  /// the records.
  /// - Parameter wanted: ascending by key, at least one.
  /// - Throws: what history throws.
  func chains(of wanted: ArraySlice<Wanted>) throws -> [PageChain] {
    let redoLSNs = try redoLSNs(of: wanted)
    var chains = [PageChain?](repeating: nil, count: wanted.count)
    var end = wanted.count
    for redoLSN in Set(redoLSNs) {
      let members = redoLSNs.indices.filter { $0 < end && redoLSNs[$0] == redoLSN }
      guard !members.isEmpty else { continue }
      let found = try self.chains.chains(
        of: members.map { wanted[wanted.startIndex + $0].key }, from: redoLSN, to: moment,
        recordLimit: PageMaker.recordLimit, byteLimit: PageMaker.byteLimit)
      if found.count < members.count { end = members[found.count] }
      for (member, chain) in zip(members, found) { chains[member] = chain }
    }
    // Each index below `end` is a member of one of the groups.
    return chains[..<end].map { $0! }
  }

  /// Makes blocks by their chains, each in its place: block `i` at `i * blockSize` of `buffer`.
  /// - Parameters:
  ///   - chains: of ``chains(of:)``, one for each block.
  ///   - batch: memory to work with; what it held is gone.
  ///   - isUrgent: a reader waits.
  /// - Throws: ``ComputeError`` `.damagedHistory` that names the page; what history throws.
  func make(
    _ wanted: ArraySlice<Wanted>, by chains: ArraySlice<PageChain>,
    into buffer: UnsafeMutableRawBufferPointer, with batch: RedoBatch, isUrgent: Bool
  ) throws -> [Made] {
    precondition(wanted.count == chains.count)
    try forEachRun(of: wanted) { first, range in
      try image.read(
        file: first.file, startBlock: first.block, count: range.count,
        into: PageMaker.slots(buffer, range.lowerBound, range.count))
    }
    return try redo(chains, wanted, buffer, batch, isUrgent)
  }

  private func redoLSNs(of wanted: ArraySlice<Wanted>) throws -> [LSN] {
    var redoLSNs: [LSN] = []
    try forEachRun(of: wanted) { first, range in
      redoLSNs += try image.redoLSNs(
        file: first.file, startBlock: first.block, count: range.count)
    }
    return redoLSNs
  }

  /// Runs of consecutive blocks of one file, as offsets into `wanted`.
  private func forEachRun(
    of wanted: ArraySlice<Wanted>, _ body: (BlockAddress, Range<Int>) throws -> Void
  ) rethrows {
    var next = wanted.startIndex
    while next < wanted.endIndex {
      let first = wanted[next].address
      var end = next + 1
      while end < wanted.endIndex,
        wanted[end].address
          == BlockAddress(file: first.file, block: first.block + UInt32(end - next))
      {
        end += 1
      }
      try body(first, next - wanted.startIndex..<end - wanted.startIndex)
      next = end
    }
  }

  static func slots(
    _ buffer: UnsafeMutableRawBufferPointer, _ first: Int, _ count: Int
  ) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(
      rebasing: buffer[first * blockSize..<(first + count) * blockSize])
  }

  // MARK: Redo

  private func redo(
    _ chains: ArraySlice<PageChain>, _ wanted: ArraySlice<Wanted>,
    _ buffer: UnsafeMutableRawBufferPointer, _ batch: RedoBatch, _ isUrgent: Bool
  ) throws -> [Made] {
    batch.removeAll()
    var made = [Made](repeating: .unchanged, count: wanted.count)
    var inBatch: [Int] = []
    for (index, (block, chain)) in zip(wanted, chains).enumerated() {
      let slot = PageMaker.slots(buffer, index, 1)
      if chain.records.isEmpty {
        if chain.origin == .removed {
          slot.initializeMemory(as: UInt8.self, repeating: 0)
          made[index] = .made
        }
        continue
      }
      made[index] = .made
      if chain.records.contains(where: { $0.effect != .redo }) {
        try redoInSteps(chain, block.key, slot, isUrgent)
        continue
      }
      let base = chain.origin == .base ? UnsafeRawBufferPointer(slot) : nil
      try add(block.key, base, chain.records[...], chain, to: batch)
      inBatch.append(index)
    }
    try run(batch, isUrgent)
    for (request, index) in inBatch.enumerated() {
      try take(batch, request, into: PageMaker.slots(buffer, index, 1))
    }
    return made
  }

  /// A block of the visibility map whose relation was shortened: redo up to there, the cut, and on.
  private func redoInSteps(
    _ chain: PageChain, _ key: BlockKey, _ slot: UnsafeMutableRawBufferPointer, _ isUrgent: Bool
  ) throws {
    if chain.origin != .base { slot.initializeMemory(as: UInt8.self, repeating: 0) }
    var rest = chain.records[...]
    while let first = rest.first {
      if case .clearsMap(let heapBlock) = first.effect {
        VisibilityMapPage.clear(slot, of: key.block, fromHeapBlock: heapBlock)
        if options.contains(.storesChecksum), !PageMaker.isNew(slot) {
          DataChecksum.store(in: slot, block: key.block)
        }
        rest = rest.dropFirst()
        continue
      }
      let run = rest.prefix { $0.effect == .redo }
      let batch = RedoBatch()
      try add(
        key, PageMaker.isNew(slot) ? nil : UnsafeRawBufferPointer(slot), run, chain, to: batch)
      try self.run(batch, isUrgent)
      try take(batch, 0, into: slot)
      rest = rest.dropFirst(run.count)
    }
  }

  private static func isNew(_ slot: UnsafeMutableRawBufferPointer) -> Bool {
    PageHeader(UnsafeRawBufferPointer(slot))?.isNew ?? true
  }

  private func add(
    _ key: BlockKey, _ base: UnsafeRawBufferPointer?, _ records: ArraySlice<PageChain.Record>,
    _ chain: PageChain, to batch: RedoBatch
  ) throws {
    batch.begin(
      PageTarget(locator: key.locator, fork: key.fork, block: key.block), base: base,
      options: options)
    try chain.bytes.withUnsafeBytes { bytes in
      for record in records {
        try batch.append(
          record: UnsafeRawBufferPointer(rebasing: bytes[record.range]),
          startLSN: record.startLSN, endLSN: record.endLSN)
      }
    }
  }

  private func run(_ batch: RedoBatch, _ isUrgent: Bool) throws {
    if batch.count > 0 { try pool.redo(batch, isUrgent: isUrgent) }
  }

  private func take(
    _ batch: RedoBatch, _ request: Int, into slot: UnsafeMutableRawBufferPointer
  ) throws {
    switch batch.outcome(of: request) {
    case .page: slot.copyMemory(from: batch.page(of: request))
    case .zeroPage: slot.initializeMemory(as: UInt8.self, repeating: 0)
    case .failed(let error):
      // A worker that could not be started or was lost says nothing of the history.
      let isHistory = [.redo, .refused, .recordLength].contains(error.code)
      throw ComputeError(
        isHistory ? .damagedHistory : .environment,
        "make page \(batch.target(of: request)) as of \(moment): \(error)",
        hint: "open the moment by replay; run 'exzo verify'")
    }
  }
}
