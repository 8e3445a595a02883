import ObjectStorage
import PostgresFormat
import TestSupport
import Volume

@testable import History

/// Random histories, written to a store as writers do, with a model that forgets nothing.
struct RetentionWorld {
  struct Line {
    var description: LineDescription
    var chunks: [WALChunkReference] = []
    var keyframes: [Keyframe] = []
    /// Those that its writer knows: what went is forgotten once the writer has seen that.
    var listed: [Keyframe] = []
    var groups: [LayerGroup]
    var baseGroups: Int
    /// What its volume reads below its own blocks, where that is not its origin any more.
    var base: [LayerReference]?
    /// What it is about to read.
    var nextBase: [LayerReference]?
    var end: LSN
    var epoch: UInt32 = 1
    var sequence: UInt64 = 0
    var hasBranch = true
    /// Moments before it are not promised: what was before the branch was not kept.
    var floor = LSN(0)
    /// Ends of records with the times of the transactions that they end, in order; never merged.
    var records: [(start: LSN, end: LSN, time: PostgresTimestamp)] = []
  }

  /// A snapshot, or a lease where it expires.
  struct Pin {
    var line: LineID
    var lsn: LSN
    var expiry: PostgresTimestamp?
  }

  /// Smaller than PostgreSQL has them; the made-up WAL is of a version that nobody parses.
  static let segmentSize: UInt32 = 2048
  var store = MemoryObjectStore()
  var random: SeededRandom
  var lines: [LineID: Line] = [:]
  var pins: [Pin] = []
  var now = PostgresTimestamp(800_000_000_000_000)
  /// Seconds.
  var window: Int64 = 86_400
  /// Moments before this time are not promised: the window was shorter once.
  var floorTime = PostgresTimestamp(0)
  var policy = RetentionPolicy()
  /// Moments that were chosen under a lease, and are opened later.
  var choices: [Choice] = []
  /// Sessions that read at a moment, from what they chose when they began.
  var sessions: [Session] = []
  /// Promised whatever the time, once set.
  var frozen: [LineID: [LSN]]?

  struct Choice {
    var source: LineID
    var moment: Moment
    var expiry: PostgresTimestamp
  }

  struct Session {
    var line: LineID
    var moment: Moment
    var since: PostgresTimestamp
  }

  /// What a writer knew of evictions when it looked last.
  private var learned: [LineID: LineEvictions] = [:]

  init(seed: UInt64) async throws {
    random = SeededRandom(seed)
    policy.grace = .seconds(1800)
    policy.margin = .seconds(60)
    policy.maximumTailBytes = 20_000
    try await addLine(parent: nil, start: LSN(0x10_0000), floor: LSN(0))
  }

  mutating func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }
  mutating func chance(_ oneIn: Int) -> Bool { pick(oneIn) == 0 }

  var windowStart: PostgresTimestamp {
    max(floorTime, PostgresTimestamp(now.rawValue - window * 1_000_000))
  }

  var demands: [LineID: LineDemand] {
    var result: [LineID: LineDemand] = [:]
    for (id, line) in lines {
      result[id] = LineDemand(
        window: line.hasBranch ? frozen.map { .from($0[id]![0]) } ?? .since(windowStart) : nil,
        moments: livePins.filter { $0.line == id }.map(\.lsn),
        readings: sessions.filter { $0.line == id }
          .map { .init(lsn: $0.moment.lsn, since: $0.since) })
    }
    return result
  }

  var livePins: [Pin] { pins.filter { $0.expiry.map { $0 > now } ?? true } }

  // MARK: Lines

  mutating func addLine(parent: LineOrigin?, start: LSN, floor: LSN) async throws {
    let id = LineID { random.next() }
    let description = LineDescription(
      id: id, project: "pr-test", parent: parent, startLSN: start, timeline: TimelineID(1),
      systemIdentifier: 42, major: 99, serverVersion: "15.1", segmentSize: Self.segmentSize,
      createdAt: now)
    let isLazy = parent?.isLazy ?? false
    var line = Line(
      description: description, groups: parent?.base ?? [],
      baseGroups: isLazy ? parent!.base.count : 0, end: start)
    line.floor = floor
    lines[id] = line
    try await putOwner(id)
    try await store.put(
      LineKeys(line: id).description, .bytes(description.encodedObject()))
    if parent == nil {
      try await append(id)
      try await keyframe(id, complete: true)
    }
  }

  private func putOwner(_ id: LineID) async throws {
    let line = lines[id]!
    try await LineOwner(
      epoch: line.epoch, token: 1, takeoverLSN: line.end, createdAt: now, base: line.base
    ).put(on: id, store: store)
  }

  /// The next writer knows what it finds in the store.
  mutating func takeOver(_ id: LineID) async throws {
    lines[id]!.epoch += 1
    lines[id]!.sequence = 0
    let found = try await LineContents.load(id, store: store)
    lines[id]!.base = found.standaloneKeyframe?.layers ?? lines[id]!.base
    lines[id]!.nextBase = nil
    try await putOwner(id)
    var contents = try await LineContents.load(id, store: store)
    contents.removeEvicted()
    lines[id]!.listed = contents.keyframes
    learned[id] = contents.evictions
  }

  /// A volume that runs moves to the newest keyframe that stands alone; its writer may stop at any step.
  mutating func moveBase(_ id: LineID) async throws {
    let found = try await LineContents.load(id, store: store)
    guard let layers = found.standaloneKeyframe?.layers, layers != lines[id]!.base else { return }
    lines[id]!.nextBase = layers
    try await writeManifest(id)
    if chance(4) { return }
    (lines[id]!.base, lines[id]!.nextBase) = (layers, nil)
    if chance(4) { return }
    try await writeManifest(id)
  }

  private mutating func number(_ id: LineID) -> ObjectNumber {
    lines[id]!.sequence += 1
    return ObjectNumber(epoch: lines[id]!.epoch, sequence: lines[id]!.sequence)
  }

  /// A chunk of one record that may begin in the chunk before and leave the next one's begin.
  mutating func append(_ id: LineID) async throws {
    let start = lines[id]!.end
    let end = start + UInt64(200 + pick(1200))
    let recordStart = lines[id]!.records.last?.end ?? start
    let recordEnd = chance(2) ? end : LSN(end.rawValue - 64)
    var builder = WALChunkBuilder(
      line: id, timeline: TimelineID(1), systemIdentifier: 42, startLSN: start, time: now)
    let bytes = testBytes(from: start, count: Int(end - start))
    bytes.withUnsafeBytes { builder.append($0) }
    builder.observeRecord(start: recordStart, end: recordEnd)
    builder.observeTransactionEnd(committed: true, time: now)
    try await put(builder.finish(), of: id)
    lines[id]!.records.append((recordStart, recordEnd, now))
    lines[id]!.end = end
  }

  private mutating func putMerged(_ run: [WALChunkReference], of id: LineID) async throws {
    let number = number(id)
    let (key, bytes, summary) = try await mergedChunk(run, number, of: id, store)
    try await store.put(key, .bytes(bytes))
    lines[id]!.chunks.append(
      WALChunkReference(number: number, size: UInt64(bytes.count), summary: summary))
  }

  private mutating func put(_ chunk: WALChunk, of id: LineID) async throws {
    let number = number(id)
    let key = LineKeys(line: id).wal(number)
    let bytes = try chunk.encoded(key: key)
    try await store.put(key, .bytes(bytes))
    lines[id]!.chunks.append(
      WALChunkReference(number: number, size: UInt64(bytes.count), summary: chunk.summary))
  }

  mutating func keyframe(_ id: LineID, complete: Bool) async throws {
    guard let redo = lines[id]!.records.last?.end else { return }
    // What a server replayed into its own volume is all in its first keyframe.
    let replayed = lines[id]!.description.parent.map { !$0.isLazy } ?? true
    let complete = complete || (replayed && lines[id]!.keyframes.isEmpty)
    let own = lines[id]!.groups.count > lines[id]!.baseGroups
    if complete, own, lines[id]!.groups[0].layers.count >= 3 {
      let merged = try await putLayer(id)
      lines[id]!.groups[0].layers = [merged]
    }
    let layer = try await putLayer(id)
    var groups = lines[id]!.groups
    if complete, lines[id]!.baseGroups > 0, chance(2) {
      // One that stands alone: the upper layers are merged, the lowest one stays.
      let merged = try await putLayer(id)
      groups = [LayerGroup(layers: [layer, merged, groups.layers.last!], redoLSN: redo)]
      lines[id]!.groups = groups
      lines[id]!.baseGroups = 0
    } else if complete {
      let below = own ? groups[0].layers : []
      groups =
        [LayerGroup(layers: [layer] + below, redoLSN: redo)]
        + groups.suffix(lines[id]!.baseGroups)
      lines[id]!.groups = groups
    }
    let keyframe = Keyframe(
      line: id, number: number(id), timeline: TimelineID(1), checkpointLSN: redo, redoLSN: redo,
      consistentLSN: redo, createdAt: now, systemIdentifier: 42, postgresVersion: "15.1",
      partial: complete ? nil : layer, groups: groups)
    try await store.put(keyframe.key, .bytes(keyframe.encodedObject()))
    lines[id]!.keyframes.append(keyframe)
    lines[id]!.listed.append(keyframe)
  }

  private mutating func putLayer(_ id: LineID) async throws -> LayerReference {
    let layer = LayerReference(
      line: id, number: number(id), epochs: 1...1, highestPageLSN: LSN(1),
      objects: [
        LayerObjectReference(
          size: 3, start: BlockAddress(file: FileID(1), block: 0), blockCount: 1)
      ])
    try await store.put(layer.key(ofObject: 0), .bytes([1, 2, 3]))
    return layer
  }

  /// What its writer knows goes into a manifest; now and then it learns of evictions a little late.
  mutating func writeManifest(_ id: LineID, mayBeLate: Bool = true) async throws {
    let line = lines[id]!
    var contents = LineContents(description: line.description)
    contents.chunks = line.chunks
    contents.keyframes = line.listed
    try await contents.refreshEvictions(store)
    if mayBeLate, chance(4), let before = learned[id] { contents.evictions = before }
    learned[id] = contents.evictions
    contents.removeEvicted()
    lines[id]!.listed = contents.keyframes
    let manifest = Manifest(
      line: id, number: number(id),
      lastChunk: line.chunks.map(\.number).max() ?? ObjectNumber(epoch: 0, sequence: 0),
      lastKeyframe: line.keyframes.map(\.number).max() ?? ObjectNumber(epoch: 0, sequence: 0),
      chunks: contents.spans().map(\.chunk), keyframes: contents.keyframes,
      base: VolumeBase(layers: line.base, next: line.nextBase))
    try await store.put(manifest.key, .bytes(manifest.encodedObject()))
    let prefix = LineKeys(line: id).manifestPrefix
    for key in store.keys.filter({ $0.hasPrefix(prefix) }).dropLast(2) { store[key] = nil }
  }

  /// Merges two chunks that are both there; may be killed before the old ones are deleted.
  mutating func mergeChunks(_ id: LineID) async throws {
    let chunks = lines[id]!.chunks
    guard chunks.count > 2 else { return }
    let index = pick(chunks.count - 1)
    let pair = [chunks[index], chunks[index + 1]]
    // The made-up records between cannot be parsed: no moment may end there any more.
    let inner = pair[0].summary.lastRecordEnd
    if pins.contains(where: { $0.lsn == inner }) { return }
    if lines.values.contains(where: { $0.keyframes.contains { $0.consistentLSN == inner } }) {
      return
    }
    // Nor may one that a child's beginning cuts.
    let cuts = pair[0].startLSN..<pair[1].endLSN
    if choices.contains(where: { cuts.contains($0.moment.lsn) })
      || lines.values.contains(where: {
        $0.description.parent.map { $0.line == id && cuts.contains($0.branchLSN) } ?? false
      })
    {
      return
    }
    let keys = pair.map { LineKeys(line: id).wal($0.number) }
    guard pair[0].endLSN == pair[1].startLSN, keys.allSatisfy({ store[$0.name] != nil }) else {
      return
    }
    try await putMerged(pair, of: id)
    let merged = lines[id]!.chunks.removeLast()
    lines[id]!.chunks.replaceSubrange(index...index + 1, with: [merged])
    try await writeManifest(id)
    if chance(3) { return }
    for key in keys { store[key.name] = nil }
  }

  // MARK: Moments

  /// A line's records and its ancestors' up to where it left them, oldest first.
  func records(_ id: LineID) -> [(start: LSN, end: LSN, time: PostgresTimestamp)] {
    let line = lines[id]!
    guard let origin = line.description.parent else { return line.records }
    return records(origin.line).filter { $0.end <= origin.branchLSN } + line.records
  }

  func keyframes(_ id: LineID) -> [Keyframe] {
    let line = lines[id]!
    guard let origin = line.description.parent else { return line.keyframes }
    return keyframes(origin.line).filter { $0.consistentLSN <= origin.branchLSN } + line.keyframes
  }

  /// Ends of records in the window of a line that has a branch, from a time on.
  func moments(_ id: LineID, since time: PostgresTimestamp) -> [LSN] {
    let records = records(id)
    guard let oldest = keyframes(id).map(\.consistentLSN).min() else { return [] }
    var moments =
      records.firstIndex { $0.time > time }.map { index in
        records[max(0, index - 1)...].map(\.end)
      } ?? []
    if let head = records.last?.end, !moments.contains(head) { moments.append(head) }
    let ends = recordEnds(id)
    return moments.filter { $0 >= oldest && ends.contains($0) }
  }

  /// Positions that can be sought without parsing.
  private func recordEnds(_ id: LineID) -> Set<LSN> {
    let line = lines[id]!
    let own = line.chunks.compactMap(\.summary.lastRecordEnd) + [line.description.startLSN]
    guard let origin = line.description.parent else { return Set(own) }
    return recordEnds(origin.line).union(own)
  }

  func promised(_ id: LineID) -> [LSN] {
    let line = lines[id]!
    let moments = frozen?[id] ?? moments(id, since: windowStart)
    let window = line.hasBranch ? moments.filter { $0 >= line.floor } : []
    return window + livePins.filter { $0.line == id }.map(\.lsn)
  }
}
