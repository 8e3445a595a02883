import ObjectStorage
import PostgresFormat
import TestSupport

@testable import History

/// What must hold of a world, found by opening moments and not by planning.
extension RetentionWorld {
  /// Opens a moment as far as the store goes: seek, layers, all WAL.
  func open(_ lsn: LSN, _ history: LineHistory) async throws -> Moment {
    let moment: Moment
    do {
      moment = try await history.seek(.lsn(lsn), now: PostgresTimestamp(.max))
    } catch let error as HistoryError where error.code == .badWAL {
      // The model's WAL has no records: a moment inside a chunk (cut by a takeover) is not sought in it.
      moment = try await history.moment(at: lsn, sought: lsn)
    }
    guard moment.lsn == lsn else { throw Broken("\(lsn) opens at \(moment.lsn)") }
    try await check(moment, history)
    return moment
  }

  /// All that opens the moment as it was found, now or a while ago.
  private func check(_ moment: Moment, _ history: LineHistory) async throws {
    let keyframe = moment.keyframe
    try await check(keyframe, from: keyframe.oldestRedoLSN, to: moment.lsn, history)
    if let complete = moment.complete {
      try await check(complete, from: complete.redoLSN, to: moment.lsn, history)
    }
  }

  private func check(
    _ keyframe: Keyframe, from: LSN, to: LSN, _ history: LineHistory
  ) async throws {
    guard try await store.size(keyframe.key) != nil else { throw Broken("\(keyframe.key) is gone") }
    for layer in keyframe.layers where store[layer.key(ofObject: 0).name] == nil {
      throw Broken("\(layer.key(ofObject: 0)) of \(keyframe.key) is gone")
    }
    try await checkWAL(from: from, to: to, history)
  }

  private func checkWAL(from: LSN, to: LSN, _ history: LineHistory) async throws {
    let root = await history.lineage.last!
    let start = max(root.startLSN, root.segmentStart(from))
    var position = start
    for try await run in history.readWAL(from: start, to: to) {
      guard run.startLSN == position,
        run.bytes == testBytes(from: run.startLSN, count: run.bytes.count)
      else { throw Broken("WAL at \(run.startLSN) is not the model's") }
      position = run.endLSN
    }
    guard position >= to else { throw Broken("WAL ends at \(position), not \(to)") }
  }

  /// All promised moments open, or `samples` of each line.
  mutating func checkPromises(samples: Int) async throws {
    for session in sessions {
      let history = try await LineHistory.open(session.line, store: store)
      do {
        try await check(session.moment, history)
      } catch {
        throw Broken("session on \(session.line) at \(session.moment.lsn): \(error)")
      }
    }
    for choice in choices where choice.expiry > now {
      let history = try await LineHistory.open(choice.source, store: store)
      do {
        try await check(choice.moment, history)
      } catch {
        throw Broken("choice on \(choice.source) at \(choice.moment.lsn): \(error)")
      }
    }
    for (id, line) in lines.sorted(by: { $0.key < $1.key }) {
      var moments = promised(id)
      if line.hasBranch { try await checkBase(line) }
      if moments.isEmpty { continue }
      let history = try await LineHistory.open(id, store: store)
      if line.hasBranch {
        guard await history.uploadedLSN == line.end else { throw Broken("\(id) ends early") }
      }
      while moments.count > samples { moments.remove(at: 1 + pick(moments.count - 2)) }
      for lsn in moments {
        do {
          try check(try await open(lsn, history), at: lsn, id)
        } catch {
          throw Broken("line \(id), \(line.hasBranch), moment \(lsn): \(error)")
        }
      }
    }
  }

  /// Compares what opens a moment with the best that there ever was.
  private func check(_ moment: Moment, at lsn: LSN, _ id: LineID) throws {
    let candidates = keyframes(id).filter { $0.consistentLSN <= lsn }
    guard let best = candidates.last else { throw Broken("no keyframe in the model") }
    if candidates.contains(where: \.isComplete), moment.complete == nil {
      throw Broken("the complete keyframe is gone")
    }
    if moment.keyframe == best { return }
    let youngest = policy.spacings[0].age
    let isPinned = livePins.contains { $0.line == id && $0.lsn == lsn }
    if isPinned { return }
    if now.since(best.createdAt) < youngest {
      throw Broken("a young keyframe was thinned")
    }
    let bytes = best.consistentLSN - moment.keyframe.redoLSN
    if best.createdAt.since(moment.keyframe.createdAt) > .seconds(3600)
      || bytes > policy.maximumTailBytes
    {
      throw Broken("the tail grew by \(bytes) bytes")
    }
  }

  /// A compute can wake on the line.
  private func checkBase(_ line: Line) async throws {
    guard let origin = line.description.parent else { return }
    for layer in line.base ?? origin.base.layers
    where store[layer.key(ofObject: 0).name] == nil {
      throw Broken("\(layer.key(ofObject: 0)), base of \(line.description.id), is gone")
    }
    guard line.base == nil, origin.isLazy, let oldest = origin.base.last else { return }
    let history = try await LineHistory.open(origin.line, store: store)
    try await checkWAL(from: oldest.redoLSN, to: origin.branchLSN, history)
  }

  /// The keys that some moment, some base or some line needs.
  func neededKeys() async throws -> Set<String> {
    var result: Set<String> = []
    for (id, line) in lines {
      let pinned = livePins.filter { $0.line == id }.map(\.lsn)
      guard line.hasBranch || !pinned.isEmpty else { continue }
      let history = try await LineHistory.open(id, store: store)
      if line.hasBranch, let origin = line.description.parent {
        for layer in (line.base ?? origin.base.layers) + (line.nextBase ?? []) {
          result.insert(layer.key(ofObject: 0).name)
        }
        if origin.isLazy, line.base == nil {
          await addWAL(from: origin.base.last!.redoLSN, to: origin.branchLSN, history, &result)
        }
      }
      for lsn in pinned + (line.hasBranch ? frozen![id]! : []) {
        let moment: Moment
        do {
          moment = try await open(lsn, history)
        } catch  where !pinned.contains(lsn) {
          continue  // not promised
        }
        for keyframe in [moment.keyframe, moment.complete].compactMap(\.self) {
          result.insert(keyframe.key.name)
          for layer in keyframe.layers { result.insert(layer.key(ofObject: 0).name) }
        }
        await addWAL(from: moment.keyframe.oldestRedoLSN, to: lsn, history, &result)
        if let complete = moment.complete {
          await addWAL(from: complete.redoLSN, to: lsn, history, &result)
        }
      }
      // The window's WAL has no hole, though a chunk may hold no end of a record but one that is a keyframe's moment.
      if line.hasBranch, let first = frozen![id]!.first(where: { $0 >= line.floor }) {
        await addWAL(from: first, to: line.end, history, &result)
      }
      if line.hasBranch, let last = await history.chunks.last {
        result.insert(LineKeys(line: id).wal(last.number).name)
      }
    }
    return result
  }

  /// Chunks of a range, and of the record that begins before the first one.
  private func addWAL(
    from: LSN, to: LSN, _ history: LineHistory, _ keys: inout Set<String>
  ) async {
    let chain = await history.chain
    let start = chain.description.segmentStart(from)
    var found: [String] = []
    for piece in chain.pieces where start < to && piece.range.overlaps(start..<to) {
      found.append(chain.lines[piece.line].keys.wal(piece.chunk.number).name)
      if found.count == 1, let first = piece.chunk.summary.firstRecordStart,
        first < piece.range.lowerBound
      {
        let before = first..<piece.range.lowerBound
        found += chain.pieces.filter { $0.range.overlaps(before) }
          .map { chain.lines[$0.line].keys.wal($0.chunk.number).name }
      }
    }
    keys.formUnion(found)
  }

  /// Lines that are needed for themselves or for a descendant.
  var livingLines: Set<LineID> {
    var result: Set<LineID> = []
    for (id, line) in lines
    where line.hasBranch || livePins.contains(where: { $0.line == id })
      || sessions.contains(where: { $0.line == id })
    {
      var next: LineID? = id
      while let id = next {
        result.insert(id)
        next = lines[id]!.description.parent?.line
      }
    }
    return result
  }
}
