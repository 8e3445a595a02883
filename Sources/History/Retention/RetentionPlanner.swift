import ObjectStorage
import PostgresFormat

/// Decides what of some lines stays; pure.
///
/// ## What a promised moment X needs
/// 1. The newest keyframe K at or below X with its layers, and WAL from where K's oldest block may need it
///    (``Keyframe/oldestRedoLSN``, rounded down to a segment) to X.
/// 2. For replay as fallback, the newest *complete* keyframe at or below X, and WAL from its redo LSN.
///    Within a window one for its oldest moment is kept, and others as far as thinning leaves them.
///
/// ## What else stays
/// 3. A line that a branch points to: the layers below its volume's own blocks, the WAL that a lazy base
///    needs up to the branch point as long as the volume reads that base, and its last chunk, which says where
///    the line ends.
/// 4. Withdrawn keyframes for ``RetentionPolicy/grace``, with layers and WAL: their own, and up to each
///    leased moment for which they were chosen.
/// 5. A line's description as long as a line that descends from it stays.
/// 6. All of an unknown line; see ``LineDemand``.
struct RetentionPlanner: Sendable {
  var policy: RetentionPolicy
  var now: PostgresTimestamp
  /// Since when dropped keyframes are known to be forgotten by their line's writer.
  var forgotten: [LineID: [ObjectNumber: PostgresTimestamp]] = [:]

  struct Plan: Sendable {
    /// Lines whose evictions change: what to write before anything is deleted.
    var evictions: [LineID: LineEvictions] = [:]
    /// Lines that go entirely, descendants first.
    var removals: [LineID] = []
    var needs = RetentionNeeds()
  }

  /// - Parameter demands: with windows as positions; see ``LineDemand/Window/from(_:)``.
  func plan(_ forest: RetentionForest, _ demands: [LineID: LineDemand]) -> Plan {
    var plan = Plan(needs: needs(forest, demands))
    for (line, contents) in forest.lines where plan.needs.living.contains(line) {
      if plan.needs.untouched.contains(line) { continue }
      let evictions = evictions(contents, plan.needs)
      if !evictions.isSame(as: contents.evictions) { plan.evictions[line] = evictions }
    }
    let dead = forest.lines.keys.filter { !plan.needs.living.contains($0) }
    plan.removals = dead.map { (forest.lineage(of: $0).count, $0) }
      .sorted { ($1.0, $0.1) < ($0.0, $1.1) }.map(\.1)
    return plan
  }

  // MARK: Needs

  /// - Parameter withdrawn: whether keyframes that nobody needs count, as long as they stay.
  func needs(
    _ forest: RetentionForest, _ demands: [LineID: LineDemand], withdrawn: Bool = true
  ) -> RetentionNeeds {
    var needs = RetentionNeeds()
    needs.untouched = forest.untouched(demands)
    for line in forest.lines.keys.sorted() {
      let demand = demands[line] ?? LineDemand(window: .everything)
      if demand.isEmpty { continue }
      let lineage = forest.lineage(of: line)
      needs.living.formUnion(lineage)
      guard let chain = forest.chain(of: line) else {
        needs.untouched.formUnion(lineage)
        continue
      }
      add(demand, chain, to: &needs)
    }
    for line in needs.untouched { needs.living.formUnion(forest.lineage(of: line)) }
    if withdrawn { addWithdrawn(forest, to: &needs) }
    return needs
  }

  private func add(_ demand: LineDemand, _ chain: LineChain, to needs: inout RetentionNeeds) {
    switch demand.window {
    case nil: break
    case .everything, .since: addEverything(chain, to: &needs)
    case .from(let start): addWindow(from: start, chain, to: &needs)
    }
    if demand.window != nil {
      needs.running.insert(chain.description.id)
      addBase(chain, to: &needs)
    }
    for lsn in demand.moments {
      add(chain.keyframes(at: lsn), lsn, chain, to: &needs)
      addChosen(at: lsn, chain, to: &needs)
    }
    for reading in demand.readings { add(reading, chain, to: &needs) }
  }

  private func addEverything(_ chain: LineChain, to needs: inout RetentionNeeds) {
    needs.add(LSN(0)..<LSN(.max), of: chain)
    for keyframe in chain.keyframes(at: LSN(.max)) { needs.add(keyframe) }
  }

  /// Whoever opens a leased moment chose what was newest then: newer keyframes may have come since, and
  /// the one chosen may have been withdrawn. Its layers stay for ``RetentionPolicy/grace``; so must its WAL.
  private func addChosen(at lsn: LSN, _ chain: LineChain, to needs: inout RetentionNeeds) {
    let all = chain.keyframes(at: lsn, withdrawn: true)
    for keyframes in [all, all.filter(\.isComplete)] {
      for keyframe in keyframes {
        let start = start(of: keyframe, chain)
        if start < lsn { needs.add(start..<lsn, of: chain) }
        let isWithdrawn = chain.eviction(of: keyframe) != nil
        if !isWithdrawn {
          needs.add(keyframe)
          // Nobody has chosen an older one for as long as that.
          if now.since(keyframe.createdAt) >= policy.grace { break }
        }
      }
    }
  }

  /// A session's keyframe may not be the newest one any more, and may have been withdrawn since it began.
  private func add(
    _ reading: LineDemand.Reading, _ chain: LineChain, to needs: inout RetentionNeeds
  ) {
    add(chain.keyframes(at: reading.lsn), reading.lsn, chain, to: &needs)
    let all = chain.keyframes(at: reading.lsn, withdrawn: true)
    for keyframes in [all, all.filter(\.isComplete)] {
      for keyframe in keyframes {
        let withdrawn = chain.eviction(of: keyframe)?.since
        // A round writes what it withdraws some time after it began.
        if keyframe.createdAt.since(reading.since) >= policy.grace
          || withdrawn.map({ reading.since.since($0) >= policy.grace }) ?? false
        {
          continue
        }
        add([keyframe], reading.lsn, chain, to: &needs)
        // Seen by then: it is listed some time after it was made.
        if withdrawn == nil, reading.since.since(keyframe.createdAt) >= policy.grace { break }
      }
    }
  }

  /// A moment's keyframes, chosen from some that are newest first, and its WAL.
  private func add(
    _ keyframes: [Keyframe], _ lsn: LSN, _ chain: LineChain, to needs: inout RetentionNeeds
  ) {
    guard let newest = keyframes.first else { return }
    for keyframe in [newest, keyframes.first(where: \.isComplete)].compactMap(\.self) {
      needs.add(keyframe)
      let start = start(of: keyframe, chain)
      if start < lsn { needs.add(start..<lsn, of: chain) }
    }
  }

  private func addWindow(from start: LSN, _ chain: LineChain, to needs: inout RetentionNeeds) {
    let all = Array(chain.keyframes(at: LSN(.max)).reversed())
    guard !all.isEmpty else { return addEverything(chain, to: &needs) }
    let first = max(0, all.partitionPoint { $0.consistentLSN <= start } - 1)
    let window = Array(all[first...])
    var kept = policy.thinned(withoutDoubles(window), now: now)
    kept += policy.thinned(withoutDoubles(window.filter(\.isComplete)), now: now)
    if let complete = all[...first].last(where: \.isComplete),
      complete.redoLSN >= start || chain.gaps(in: complete.redoLSN..<start).isEmpty
    {
      kept.append(complete)
    }
    // A keyframe counts once its WAL is there: until then the one before it is the newest.
    let uploaded = chain.uploadedLSN
    kept += all.suffix(from: max(first, all.partitionPoint { $0.consistentLSN <= uploaded } - 1))
    for keyframe in kept { needs.add(keyframe) }
    if let oldest = kept.map({ self.start(of: $0, chain) }).min() {
      needs.add(oldest..<LSN(.max), of: chain)
    }
  }

  /// Of several keyframes at one position only the last one is ever chosen.
  private func withoutDoubles(_ keyframes: [Keyframe]) -> [Keyframe] {
    keyframes.indices.filter {
      $0 + 1 == keyframes.count
        || keyframes[$0].consistentLSN < keyframes[$0 + 1].consistentLSN
    }.map { keyframes[$0] }
  }

  /// Where the WAL begins that whoever opens a moment from the keyframe reads.
  private func start(of keyframe: Keyframe, _ chain: LineChain) -> LSN {
    chain.description.segmentStart(min(keyframe.oldestRedoLSN, keyframe.redoLSN))
  }

  private func addBase(_ chain: LineChain, to needs: inout RetentionNeeds) {
    guard let origin = chain.description.parent, origin.isLazy, let oldest = origin.base.last,
      chain.lines[0].base.layers == nil
    else { return }
    let start = chain.description.segmentStart(oldest.redoLSN)
    if start < origin.branchLSN { needs.add(start..<origin.branchLSN, of: chain) }
  }

  /// Whoever chose such a keyframe before it was withdrawn can go on with it.
  private func addWithdrawn(_ forest: RetentionForest, to needs: inout RetentionNeeds) {
    for line in needs.living.subtracting(needs.untouched) {
      guard let contents = forest.lines[line], let chain = forest.chain(of: line) else { continue }
      for keyframe in contents.keyframes
      where !(needs.keyframes[line]?.contains(keyframe.number) ?? false)
        && !isDue(contents.evictions.keyframe(keyframe.number))
      {
        let start = start(of: keyframe, chain)
        if start < keyframe.consistentLSN {
          needs.add(start..<keyframe.consistentLSN, of: chain)
        }
      }
    }
  }

  /// Whether a keyframe's objects may go now.
  private func isDue(_ entry: LineEvictions.Keyframe?) -> Bool {
    guard let entry else { return false }
    return entry.isDropped || now.since(entry.since) >= policy.grace
  }

  // MARK: Evictions

  /// What a line has lost when the plan is carried out.
  private func evictions(_ contents: LineContents, _ needs: RetentionNeeds) -> LineEvictions {
    var result = contents.evictions
    result.keyframes = keyframes(contents, needs)
    let needed = needs.wal[contents.line] ?? LSNRanges()
    let spans = contents.spans()
    for (index, span) in spans.enumerated() {
      let isLast = index == spans.count - 1 && needs.running.contains(contents.line)
      let range = span.startLSN..<span.endLSN
      if isLast || needed.overlaps(range) { continue }
      result.add(range, latestTime: span.chunk.summary.latestTime)
    }
    return result
  }

  private func keyframes(
    _ contents: LineContents, _ needs: RetentionNeeds
  ) -> [LineEvictions.Keyframe] {
    let needed = needs.keyframes[contents.line] ?? []
    let listed = Set(contents.keyframes.map(\.number))
    var result: [LineEvictions.Keyframe] = []
    for entry in contents.evictions.keyframes {
      if entry.isDropped {
        // No writer lists it again, and whoever read an older manifest has read this by now.
        let since = forgotten[contents.line]?[entry.number]
        let isForgotten = since.map { now.since($0) >= policy.grace } ?? false
        if !isForgotten { result.append(entry) }
      } else if isDue(entry), !needed.contains(entry.number) {
        result.append(.init(number: entry.number, since: now, isDropped: true))
      } else {
        result.append(entry)
      }
    }
    for number in listed where !needed.contains(number) {
      if contents.evictions.keyframe(number) != nil { continue }
      result.append(.init(number: number, since: now, isDropped: false))
    }
    return result.sorted { $0.number < $1.number }
  }
}
