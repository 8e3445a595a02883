import ObjectStorage
import PostgresFormat
import Synchronization

/// Takes from the store what no branch, snapshot, lease or window needs.
///
/// ## Purpose
/// One round over all lines of a store: find what is there, plan, name what goes, delete it.
///
/// ## State and invariants
/// 1. What is deleted was not needed by any demand when the round began, nor by a line that was there then.
/// 2. A line's evictions are durable before the first of its objects is deleted; objects go in an order in
///    which none refers to one that is gone. So a kill at any step leaves every promised moment openable,
///    and the next round goes on.
/// 3. Nothing that a writer may be making is touched, and no line is taken over: writers run beside it,
///    a suspended compute wakes in the middle of a round, and no branch waits.
/// 4. A keyframe goes ``RetentionPolicy/grace`` after no more moment is opened from it.
///
/// ## Crash
/// Its own state is a cache. What it is waiting for is in ``memory``; without it the waits begin anew.
///
/// ## Concurrency
/// An actor; one round at a time. A second collector on the same store deletes nothing that is promised.
///
/// ## Not guarded here
/// Demands must be read before the round and hold every lease, and the time must be right (``ClockWatch``); see
/// docs/decisions/2026-11-25-evictions-beside-the-writer.md.
public actor HistoryCollector {
  private let environment: HistoryEnvironment
  private let policy: RetentionPolicy
  /// Awaited before each deletion.
  private let throttle: @Sendable () async throws -> Void
  private let roundGate = AsyncGate()
  private var known: [LineID: LineContents] = [:]
  private var windows: [LineID: ResolvedWindow] = [:]
  /// Lines whose objects are to be compared with what refers to them: all of them at first.
  private var swept: [LineID: PostgresTimestamp] = [:]
  private var unlisted: [LineID: [ObjectKey: PostgresTimestamp]] = [:]
  /// Since when dropped keyframes are known to be forgotten by their line's writer.
  private var forgotten: [LineID: [ObjectNumber: PostgresTimestamp]] = [:]
  /// How long a line that nothing was taken from is not swept again.
  private static let sweepInterval: Duration = .seconds(6 * 3600)
  /// How long a window's resolved start is used: a later one would evict little more.
  private static let windowAge: Duration = .seconds(1800)

  private struct ResolvedWindow {
    var time: PostgresTimestamp
    var lsn: LSN
  }

  public init(
    environment: HistoryEnvironment, policy: RetentionPolicy = RetentionPolicy(),
    memory: CollectorMemory = CollectorMemory(),
    throttle: @escaping @Sendable () async throws -> Void = {}
  ) {
    self.environment = environment
    self.policy = policy
    self.throttle = throttle
    unlisted = memory.unlisted
    forgotten = memory.forgotten
  }

  /// To be given to the collector of the next process: what waits for ``RetentionPolicy/grace``, and since when.
  public var memory: CollectorMemory {
    CollectorMemory(
      unlisted: unlisted.filter { !$0.value.isEmpty },
      forgotten: forgotten.filter { !$0.value.isEmpty })
  }

  /// One round.
  ///
  /// - Parameters:
  ///   - demands: by line; see ``LineDemand``. Read before the call.
  ///   - time: by which the demands were made; `nil`: the environment's.
  /// - Throws: ``HistoryError`` where the store fails; the next round goes on from there.
  public func collect(
    _ demands: [LineID: LineDemand], at time: PostgresTimestamp? = nil
  ) async throws -> CollectionReport {
    try await roundGate.run { try await self.round(demands, time ?? self.environment.now()) }
  }

  private func round(
    _ demands: [LineID: LineDemand], _ now: PostgresTimestamp
  ) async throws -> CollectionReport {
    var report = CollectionReport(startedAt: now)
    var forest = try await loadForest(&report)
    noteForgotten(forest, now)
    let plan = RetentionPlanner(policy: policy, now: now, forgotten: forgotten)
      .plan(forest, try await resolve(demands, forest, now))
    report.unknownLines = forest.lines.keys.filter { demands[$0] == nil }.sorted()
    for (line, evictions) in plan.evictions.sorted(by: { $0.key < $1.key }) {
      forest.lines[line]?.evictions = try await put(evictions, of: line)
      known[line] = forest.lines[line]
      // Layers of ancestors may have lost their last reader.
      for line in forest.lineage(of: line) { swept[line] = nil }
      report.linesEvicted += 1
    }
    for line in plan.removals {
      for ancestor in forest.lineage(of: line) { swept[ancestor] = nil }
      try await remove(line, &report)
    }
    let layers = forest.neededLayers(plan.needs)
    for line in forest.lines.keys.sorted()
    where plan.needs.living.contains(line) && !plan.needs.untouched.contains(line) {
      if let contents = forest.lines[line], isDue(line, now) {
        try await sweep(contents, layers, plan.needs.running.contains(line), now, &report)
      }
    }
    report.keptBytes = RetainedObjects(forest, plan.needs).bytes
    return report
  }

  // MARK: Reading

  /// All lines of the store, with what has come since the last round.
  private func loadForest(_ report: inout CollectionReport) async throws -> RetentionForest {
    var forest = RetentionForest(lines: [:])
    let (descriptions, damages) = try await HistoryCatalog.readLines(environment.store)
    forest.undescribed = Set(damages.keys)
    report.problems += damages.sorted { $0.key < $1.key }.map(\.value)
    for description in descriptions {
      var contents = known[description.id] ?? LineContents(description: description)
      do {
        try await contents.refresh(store: environment.store)
      } catch let error as HistoryError where error.isOfHistory {
        // An owner that cannot be read: the line may hold anything.
        forest.unreadable.insert(description.id)
        report.problems.append(error)
      }
      forest.lines[description.id] = contents
    }
    known = forest.lines.filter { !forest.unreadable.contains($0.key) }
    return forest
  }

  private func noteForgotten(_ forest: RetentionForest, _ now: PostgresTimestamp) {
    let before = forgotten
    forgotten = forest.lines.mapValues { contents in
      let dropped = contents.evictions.keyframes.filter {
        $0.isDropped && contents.isForgotten($0.number)
      }
      let known = before[contents.line] ?? [:]
      return Dictionary(
        uniqueKeysWithValues: dropped.map { ($0.number, known[$0.number] ?? now) })
    }
  }

  /// Demands with windows as positions, a margin earlier than promised.
  private func resolve(
    _ demands: [LineID: LineDemand], _ forest: RetentionForest, _ now: PostgresTimestamp
  ) async throws -> [LineID: LineDemand] {
    var result = demands
    windows = windows.filter { demands[$0.key] != nil }
    for (line, demand) in demands {
      guard case .since(let time) = demand.window, let chain = forest.chain(of: line) else {
        continue
      }
      let start = time.advanced(by: .zero - policy.margin)
      let lsn = try await resolve(start, line, chain)
      let first = demand.inheritsWindow ? LSN(0) : chain.description.startLSN
      result[line]?.window = .from(max(lsn, first))
    }
    return result
  }

  private func resolve(
    _ time: PostgresTimestamp, _ line: LineID, _ chain: LineChain
  ) async throws -> LSN {
    // An earlier window than the last one (it grew) begins earlier.
    if let last = windows[line], last.time <= time, time.since(last.time) < Self.windowAge {
      return last.lsn
    }
    let lsn = try await LineHistory(chain: chain, store: environment.store).windowStart(since: time)
    windows[line] = ResolvedWindow(time: time, lsn: lsn)
    return lsn
  }

  // MARK: Writing

  private func put(_ evictions: LineEvictions, of line: LineID) async throws -> LineEvictions {
    var next = evictions
    next.sequence += 1
    next.token = UInt32(truncatingIfNeeded: environment.random())
    let key = LineKeys(line: line).evictions(next.sequence, token: next.token)
    do {
      try await environment.store.put(key, .bytes(next.encodedObject(of: line)))
    } catch {
      throw HistoryError.from(error, operation: "put evictions", key: key.name)
    }
    try await takeBack(key, of: line)
    return next
  }

  /// Another collector may have removed the line meanwhile: then nothing leads to what was just put.
  private func takeBack(_ key: ObjectKey, of line: LineID) async throws {
    do {
      guard try await environment.store.size(LineKeys(line: line).description) == nil else {
        return
      }
      try await environment.store.delete(key)
    } catch {
      throw HistoryError.from(error, operation: "look for line", key: key.name)
    }
  }

  private func isDue(_ line: LineID, _ now: PostgresTimestamp) -> Bool {
    guard let last = swept[line] else { return true }
    if !(unlisted[line] ?? [:]).isEmpty { return now.since(last) >= policy.grace }
    return now.since(last) >= Self.sweepInterval
  }

  private func sweep(
    _ contents: LineContents, _ layers: Set<LineSweep.LayerName>, _ isRunning: Bool,
    _ now: PostgresTimestamp, _ report: inout CollectionReport
  ) async throws {
    let line = contents.line
    let seen = unlisted[line] ?? [:]
    var sweep = LineSweep(
      contents: contents, neededLayers: layers, now: now, grace: policy.grace)
    sweep.isRunning = isRunning
    sweep.waiting = Set(seen.keys)
    sweep.longUnlisted = Set(seen.filter { now.since($0.value) >= policy.grace }.keys)
    let listed = try await listAll(
      prefix: contents.keys.prefix, after: nil, store: environment.store)
    try await addUnknown(listed, to: &sweep)
    let (garbage, suspects) = sweep.garbage(listed)
    try await delete(garbage, &report)
    let left = suspects.subtracting(garbage.map(\.key))
    unlisted[line] = Dictionary(uniqueKeysWithValues: left.map { ($0, seen[$0] ?? now) })
    swept[line] = now
  }

  /// Layers of keyframes that no manifest lists stay as long as these do.
  private func addUnknown(_ listed: [ObjectListing], to sweep: inout LineSweep) async throws {
    for key in sweep.unknownKeyframes(listed) {
      do {
        for layer in try await Keyframe.read(key, store: environment.store).layers {
          sweep.neededLayers.insert(.init(line: layer.line, number: layer.number))
        }
      } catch let error as HistoryError where error.code == .missing {
        continue
      } catch let error as HistoryError where error.isOfHistory {
        sweep.hasUnreadableKeyframe = true
      }
    }
  }

  private func remove(_ line: LineID, _ report: inout CollectionReport) async throws {
    let listed = try await listAll(
      prefix: LineKeys(line: line).prefix, after: nil, store: environment.store)
    try await delete(LineSweep.removal(of: line, listed), &report)
    report.linesRemoved += 1
    (known[line], swept[line], unlisted[line], windows[line]) = (nil, nil, nil, nil)
  }

  private func delete(
    _ objects: [ObjectListing], _ report: inout CollectionReport
  ) async throws {
    for object in objects {
      try await throttle()
      do {
        try await environment.store.delete(object.key)
      } catch {
        throw HistoryError.from(error, operation: "delete", key: object.key.name)
      }
      report.objectsDeleted += 1
      report.bytesFreed += object.size
    }
  }
}

/// What a round did.
public struct CollectionReport: Sendable {
  public var startedAt: PostgresTimestamp
  public var objectsDeleted = 0
  public var bytesFreed: UInt64 = 0
  /// Lines of which something was withdrawn, dropped or evicted.
  public var linesEvicted = 0
  public var linesRemoved = 0
  /// Bytes of chunks and layers that stay because something needs them.
  public var keptBytes: UInt64 = 0
  /// Lines without a demand: kept whole.
  public var unknownLines: [LineID] = []
  /// Why lines were left alone, and those that they may descend from: something of them cannot be read.
  public var problems: [HistoryError] = []

  public init(startedAt: PostgresTimestamp) { self.startedAt = startedAt }
}

extension LineHistory {
  /// Where a window begins: no moment at or after the time lies before it.
  ///
  /// Reads one chunk, and only where a keyframe in it makes a difference; otherwise the answer is where its
  /// first record begins.
  func windowStart(since time: PostgresTimestamp) async throws -> LSN {
    guard
      let piece = chain.pieces.first(where: { ($0.chunk.summary.latestTime ?? time) > time })
    else { return chain.uploadedLSN }
    // Where the first record that ends in the chunk begins.
    let start = min(piece.chunk.summary.firstRecordStart ?? .init(.max), piece.range.lowerBound)
    let keyframes = chain.keyframes(at: piece.range.upperBound)
    guard keyframes.contains(where: { $0.consistentLSN > start }) else { return start }
    do {
      return try await firstEnd(after: time)?.end ?? chain.uploadedLSN
    } catch let error as HistoryError where error.isOfHistory {
      // Damaged WAL, or older than what is kept: the chunk's start is earlier and as good.
      return start
    }
  }
}
