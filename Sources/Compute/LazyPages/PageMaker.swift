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

  /// Records held in memory at once, but for a single block that has more: some 40 MiB.
  static let recordLimit = 200_000

  /// Makes the first of the blocks, each in its place: block `i` at `i * blockSize` of `buffer`.
  ///
  /// As many as their records allow (``recordLimit``), at least one.
  /// - Parameter wanted: ascending by key.
  /// - Parameter isUrgent: a reader waits.
  /// - Returns: of the blocks that were made; the buffer behind them holds nothing of use.
  /// - Throws: ``ComputeError`` `.damagedHistory` that names the page; what history throws.
  func make(
    _ wanted: [Wanted], into buffer: UnsafeMutableRawBufferPointer, isUrgent: Bool
  ) throws -> [Made] {
    let redoLSNs = try readImages(wanted, into: buffer)
    var made = [Made](repeating: .unchanged, count: wanted.count)
    var end = wanted.count
    for redoLSN in Set(redoLSNs) {
      let members = wanted.indices.filter { $0 < end && redoLSNs[$0] == redoLSN }
      guard !members.isEmpty else { continue }
      let found = try chains.chains(
        of: members.map { wanted[$0].key }, from: redoLSN, to: moment,
        recordLimit: PageMaker.recordLimit)
      if found.count < members.count { end = members[found.count] }
      try redo(Array(zip(members, found)), wanted, buffer, isUrgent, &made)
    }
    return Array(made[..<end])
  }

  private func readImages(
    _ wanted: [Wanted], into buffer: UnsafeMutableRawBufferPointer
  ) throws -> [LSN] {
    var redoLSNs = [LSN](repeating: .invalid, count: wanted.count)
    try redoLSNs.withUnsafeMutableBufferPointer { redoLSNs in
      var next = 0
      while next < wanted.count {
        let first = wanted[next].address
        var run = 1
        while next + run < wanted.count,
          wanted[next + run].address
            == BlockAddress(file: first.file, block: first.block + UInt32(run))
        {
          run += 1
        }
        try image.read(
          file: first.file, startBlock: first.block, count: run,
          into: PageMaker.slots(buffer, next, run),
          redoLSNs: UnsafeMutableBufferPointer(rebasing: redoLSNs[next..<next + run]))
        next += run
      }
    }
    return redoLSNs
  }

  static func slots(
    _ buffer: UnsafeMutableRawBufferPointer, _ first: Int, _ count: Int
  ) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(
      rebasing: buffer[first * blockSize..<(first + count) * blockSize])
  }

  // MARK: Redo

  private func redo(
    _ chains: [(Int, PageChain)], _ wanted: [Wanted], _ buffer: UnsafeMutableRawBufferPointer,
    _ isUrgent: Bool, _ made: inout [Made]
  ) throws {
    let batch = RedoBatch()
    var inBatch: [Int] = []
    for (index, chain) in chains {
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
        try redoInSteps(chain, wanted[index].key, slot, isUrgent)
        continue
      }
      let base = chain.origin == .base ? UnsafeRawBufferPointer(slot) : nil
      try add(wanted[index].key, base, chain.records[...], chain, to: batch)
      inBatch.append(index)
    }
    try run(batch, isUrgent)
    for (request, index) in inBatch.enumerated() {
      try take(batch, request, into: PageMaker.slots(buffer, index, 1))
    }
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
