import ObjectStorage
import PostgresFormat

/// One call of ``ChainReader``: finds the records of some blocks, then reads them.
struct ChainLookup {
  private let snapshot: ChainSnapshot
  private let cache: ChainCache
  private let range: Range<LSN>
  private var window: WALWindow

  /// A record that concerns a block.
  private struct Event {
    enum Kind: Hashable {
      case redo
      case startsPage
      case removesBlock
      case clearsMap(fromHeapBlock: UInt32)
    }

    var lsn: LSN
    var kind: Kind
    /// Nothing before it is needed.
    var isFirst: Bool { kind == .startsPage || kind == .removesBlock }
  }

  /// What is known of a block while the pieces are passed, newest first.
  private struct Search {
    var key: BlockKey
    /// Newest first.
    var events: [Event] = []
    var isDone = false
  }

  init(_ snapshot: ChainSnapshot, _ cache: ChainCache, _ range: Range<LSN>) throws {
    self.snapshot = snapshot
    self.cache = cache
    self.range = range
    window = try WALWindow(snapshot, cache)
  }

  mutating func chains(
    of targets: [BlockKey], recordLimit: Int, byteLimit: Int
  ) throws -> [PageChain] {
    let order = targets.indices.sorted { targets[$0] < targets[$1] }
    precondition(
      recordLimit == .max || order.elementsEqual(targets.indices), "targets in ascending order")
    var searches = order.map { Search(key: targets[$0]) }
    for place in snapshot.pieces.indices.reversed() {
      let piece = snapshot.pieces[place]
      guard piece.range.upperBound > range.lowerBound, piece.range.lowerBound < range.upperBound
      else { continue }
      let isOpen = try search(place, &searches)
      ChainLookup.cut(&searches, to: recordLimit)
      if !isOpen { break }
    }
    let found = try read(searches, byteLimit: recordLimit == .max ? .max : byteLimit)
    var result = [PageChain](repeating: PageChain(origin: .base), count: found.count)
    for (chain, target) in zip(found, order) { result[target] = chain }
    return result
  }

  /// Leaves out the last blocks until the others have no more records than `limit`.
  private static func cut(_ searches: inout [Search], to limit: Int) {
    guard limit < .max else { return }
    var count = searches.reduce(0) { $0 + $1.events.count }
    while count > limit, searches.count > 1 { count -= searches.removeLast().events.count }
  }

  // MARK: The index

  /// Looks for all blocks in one piece; false where none needs an older one.
  private mutating func search(_ place: Int, _ searches: inout [Search]) throws -> Bool {
    let chunk = try snapshot.indexed(place, cache)
    let piece = snapshot.pieces[place]
    // Whether a record that starts in the range may end after what counts.
    let isBounded = piece.isCut || range.upperBound < piece.chunk.endLSN + 8
    let end = min(piece.range.upperBound, range.upperBound)
    let cuts = chunk.cuts
    var current: (number: Int, part: BlockIndexPart)?
    var isOpen = false
    for index in searches.indices where !searches[index].isDone {
      let key = searches[index].key
      var events: [Event] = []
      for number in chunk.fence.parts(holding: key) {
        if current?.number != number { current = (number, try chunk.part(number, cache)) }
        add(key, current!.part, chunk.base, below: end, to: &events)
      }
      if !cuts.isEmpty { add(cuts, key, below: end, to: &events) }
      if isBounded, let last = events.last {
        let recordEnd = try window.end(ofRecordAt: last.lsn, limit: end)
        if recordEnd.map({ $0 > end }) ?? true { events.removeLast() }
      }
      take(events, &searches[index])
      if !searches[index].isDone { isOpen = true }
    }
    return isOpen
  }

  private func add(
    _ key: BlockKey, _ part: BlockIndexPart, _ base: LSN, below end: LSN,
    to events: inout [Event]
  ) {
    for run in part.runs(of: key) {
      for position in part.positions(ofRun: run) {
        let lsn = position.lsn(base: base)
        guard lsn >= range.lowerBound, lsn < end else { continue }
        events.append(Event(lsn: lsn, kind: position.startsPage ? .startsPage : .redo))
      }
    }
  }

  private func add(
    _ cuts: [BlockCut], _ key: BlockKey, below end: LSN, to events: inout [Event]
  ) {
    let count = events.count
    let database = RelFileLocator(
      tablespace: key.locator.tablespace, database: key.locator.database, relation: 0)
    for locator in [database, key.locator] {
      var (low, high) = (0, cuts.count)
      while low < high {
        let middle = (low + high) / 2
        if cuts[middle].locator < locator { low = middle + 1 } else { high = middle }
      }
      for cut in cuts[low...].prefix(while: { $0.locator == locator })
      where cut.lsn >= range.lowerBound && cut.lsn < end {
        switch cut.effect(on: key) {
        case .none: break
        case .removesBlock: events.append(Event(lsn: cut.lsn, kind: .removesBlock))
        case .clearsMap(let heap):
          events.append(Event(lsn: cut.lsn, kind: .clearsMap(fromHeapBlock: heap)))
        }
      }
    }
    if events.count > count { events.sort { $0.lsn < $1.lsn } }
  }

  /// Takes a piece's events over, back to one that makes all before it unnecessary.
  private func take(_ events: [Event], _ search: inout Search) {
    for event in events.reversed() {
      // Pieces may overlap where a chunk was stored twice.
      if let last = search.events.last, event.lsn >= last.lsn { continue }
      search.events.append(event)
      if event.isFirst {
        search.isDone = true
        return
      }
    }
  }

  // MARK: The records

  /// - Returns: of the first blocks whose records have no more bytes than `byteLimit`, at least one.
  private mutating func read(_ searches: [Search], byteLimit: Int) throws -> [PageChain] {
    var chains = searches.map { search in
      var origin = PageChain.Origin.base
      if search.events.last?.kind == .startsPage { origin = .firstRecord }
      if search.events.last?.kind == .removesBlock { origin = .removed }
      return PageChain(origin: origin, expectedRecords: search.events.count)
    }
    var wanted: [(lsn: LSN, chain: Int, event: Event)] = []
    for (index, search) in searches.enumerated() {
      for event in search.events.reversed() where event.kind != .removesBlock {
        wanted.append((event.lsn, index, event))
      }
    }
    if searches.count > 1 { wanted.sort { ($0.lsn, $0.chain) < ($1.lsn, $1.chain) } }
    var bytes = 0
    for (_, index, event) in wanted where index < chains.count {
      let before = chains[index].bytes.count
      try append(event, searches[index].key, to: &chains[index])
      bytes += chains[index].bytes.count - before
      while bytes > byteLimit, chains.count > 1 {
        bytes -= chains[(chains.count / 2)...].reduce(0) { $0 + $1.bytes.count }
        chains.removeLast(chains.count - chains.count / 2)
      }
    }
    return chains
  }

  private mutating func append(
    _ event: Event, _ key: BlockKey, to chain: inout PageChain
  ) throws {
    let start = chain.bytes.count
    let end = try window.appendRecord(at: event.lsn, to: &chain.bytes)
    var effect = PageChain.Effect.redo
    if case .clearsMap(let heap) = event.kind { effect = .clearsMap(fromHeapBlock: heap) }
    do {
      try chain.bytes[start...].withUnsafeBytes { bytes in
        try WALRecordView.withRecord(
          bytes, startLSN: event.lsn, endLSN: end, format: window.format
        ) { try check($0, event, key) }
      }
    } catch let error as FormatError {
      throw window.bad(event.lsn, "", cause: error)
    }
    chain.records.append(
      PageChain.Record(
        startLSN: event.lsn, endLSN: end, range: start..<chain.bytes.count, effect: effect))
  }

  /// The record must be what the index says.
  private func check(_ record: WALRecordView, _ event: Event, _ key: BlockKey) throws {
    let isRight: Bool
    switch event.kind {
    case .redo: isRight = record.touches(key, startingPage: false)
    case .startsPage: isRight = record.touches(key, startingPage: true)
    case .clearsMap, .removesBlock: isRight = record.resourceManager == .storage
    }
    guard isRight else { throw window.bad(event.lsn, "the record does not touch \(key)") }
  }
}

extension WALRecordView {
  /// Whether the record names the block, or clears bits of it.
  fileprivate func touches(_ key: BlockKey, startingPage: Bool) -> Bool {
    for block in blockReferences
    where block.block == key.block && block.fork == key.fork && block.locator == key.locator {
      return block.startsPage == startingPage
    }
    guard key.fork == .visibilityMap, !startingPage else { return false }
    let cleared = clearedVisibility
    return [cleared.first, cleared.second].contains { heap in
      guard let heap else { return false }
      return heap.locator == key.locator
        && ClearedVisibility.mapBlock(ofHeapBlock: heap.block) == key.block
    }
  }
}
