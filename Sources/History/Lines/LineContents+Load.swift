import ObjectStorage
import PostgresFormat

extension LineContents {
  /// Reads a line from the store.
  static func load(_ line: LineID, store: any ObjectStore) async throws -> LineContents {
    var contents = LineContents(description: try await .read(line, store: store))
    try await contents.refresh(store: store)
    return contents
  }

  /// Takes in what has come since; reads only what is new.
  mutating func refresh(store: any ObjectStore) async throws {
    for _ in 0..<LineContents.refreshAttempts {
      try await refreshOwners(store)
      try await refreshManifest(store)
      // An object that was listed and is gone was merged into another meanwhile, which a newer
      // manifest lists; one that a fresh listing names again is lost.
      let lost = Set(damages.filter { $0.value.code == .missing }.keys)
      try await refreshChunks(store)
      try await refreshKeyframes(store)
      try await refreshEvictions(store)
      // Of what is missing it is known now what retention took.
      if hasRecentGap { leaveOutEarly() }
      let missing = Set(damages.filter { $0.value.code == .missing }.keys)
      if missing.subtracting(lost).isEmpty { return }
    }
  }

  private static let refreshAttempts = 3

  private mutating func refreshOwners(_ store: any ObjectStore) async throws {
    var missing: [ObjectKey: HistoryError] = [:]
    repeat {
      let known = Set(owners.map { keys.owner(epoch: $0.epoch, token: $0.token) })
      let lost = missing
      missing = [:]
      for (key, _, _) in try await LineOwner.list(on: line, store: store)
      where !known.contains(key) {
        do {
          // An owner that cannot be read may hide a take-over: reading on might show wrong history.
          owners.append(try await LineOwner.read(key, store: store))
        } catch let error as HistoryError where error.code == .missing && lost[key] == nil {
          // Collected between the listing and now; one that is listed again is lost.
          missing[key] = error
        }
      }
    } while !missing.isEmpty
    owners.sort()
  }

  /// Loads the newest manifest, where it is newer than the one known.
  private mutating func refreshManifest(_ store: any ObjectStore) async throws {
    let after = manifest.map { keys.manifest($0) }
    let listed = try await listAll(prefix: keys.manifestPrefix, after: after, store: store)
    for listing in listed.reversed() {
      guard let number = LineKeys.number(in: listing.key, prefix: keys.manifestPrefix)
      else { continue }
      let found: Manifest
      do {
        found = try await .read(listing.key, number: number, line: line, store: store)
      } catch let error as HistoryError where error.isOfHistory {
        damages[listing.key.name] = error
        continue
      }
      damages = damages.filter { $0.key.hasPrefix(keys.manifestPrefix) }
      manifest = number
      manifestBase = found.base
      chunks = found.chunks
      keyframes = found.keyframes
      confirmed = [:]
      lastChunk = found.lastChunk
      manifestChunks = found.lastChunk
      lastKeyframe = found.lastKeyframe
      manifestKeyframes = found.lastKeyframe
      return
    }
  }

  private mutating func refreshChunks(_ store: any ObjectStore) async throws {
    try await listChunks(after: lastChunk, store)
    // One that was thought to have failed may have become visible after those with higher numbers.
    if hasRecentGap { try await listChunks(after: manifestChunks, store) }
  }

  private mutating func listChunks(
    after number: ObjectNumber, _ store: any ObjectStore
  ) async throws {
    let prefix = keys.walPrefix
    let after = number.epoch == 0 ? nil : keys.wal(number)
    let known = Set(chunks.lazy.map(\.number).filter { $0 > number })
    let listed = try await listAll(prefix: prefix, after: after, store: store).filter {
      LineKeys.number(in: $0.key, prefix: prefix).map { !known.contains($0) } ?? false
    }
    let results = try await concurrently(listed) { listing in
      try await WALChunkReader(listing.key, size: listing.size, store: store)
    }
    for (listing, result) in zip(listed, results) {
      guard let number = LineKeys.number(in: listing.key, prefix: prefix) else { continue }
      lastChunk = max(lastChunk, number)
      switch result {
      case .success(let chunk):
        chunks.append(
          WALChunkReference(number: number, size: listing.size, summary: chunk.summary))
        confirmed[number] = chunk.confirmedLSN
      case .failure(let error): damages[listing.key.name] = error
      }
    }
  }

  /// Chunks that no manifest lists, as far as they count.
  private var unlisted: [WALChunkReference] {
    chunks.filter { $0.number > manifestChunks && $0.startLSN < limit(of: $0.number.epoch) }
  }

  /// Whether WAL is missing before one of those that retention did not take.
  private var hasRecentGap: Bool {
    let recent = unlisted
    if recent.isEmpty { return false }
    var end =
      chunks.lazy.filter { $0.number <= manifestChunks }
      .map { min($0.endLSN, limit(of: $0.number.epoch)) }.max() ?? description.startLSN
    for chunk in recent.sorted(by: { $0.startLSN < $1.startLSN }) {
      if chunk.startLSN > end, !evictions.contains(end..<chunk.startLSN) { return true }
      end = max(end, min(chunk.endLSN, limit(of: chunk.number.epoch)))
    }
    return false
  }

  /// Leaves out chunks that became visible before one that had set out with them: they may be the present
  /// writer's, who counts them once it is there, or of one that died, and nobody was told of them.
  ///
  /// Where one of them is there and cannot be read, what is missing is damage, and told as such.
  private mutating func leaveOutEarly() {
    let damaged = damages.keys.contains { name in
      LineKeys.number(in: ObjectKey(name), prefix: keys.walPrefix).map { $0 > manifestChunks }
        ?? false
    }
    if damaged { return }
    let unlisted = unlisted
    // The same chunk may be there several times, where it was not known whether it had been stored.
    let stored = Dictionary(
      unlisted.map { ($0.startLSN, confirmed[$0.number] ?? $0.startLSN) }, uniquingKeysWith: max)
    let spans = allSpans()
    var early = spans.endIndex
    // All that is older than a keyframe was stored before it was put.
    var highest = countingKeyframes(withdrawn: true).last?.consistentLSN ?? .invalid
    for index in spans.indices.reversed() {
      let span = spans[index]
      guard span.chunk.number > manifestChunks, let known = stored[span.startLSN] else { break }
      highest = max(highest, known)
      let end = index == 0 ? description.startLSN : spans[index - 1].endLSN
      if span.startLSN > end, highest <= end, !evictions.contains(end..<span.startLSN) {
        early = index
      }
    }
    if early == spans.endIndex { return }
    let left = Set(unlisted.filter { $0.startLSN >= spans[early].startLSN }.map(\.number))
    chunks.removeAll { left.contains($0.number) }
    // They are listed again, and so is what is missing.
    lastChunk = manifestChunks
  }

  private mutating func refreshKeyframes(_ store: any ObjectStore) async throws {
    let prefix = keys.keyframePrefix
    let after = lastKeyframe.epoch == 0 ? nil : keys.keyframe(lastKeyframe)
    let listed = try await listAll(prefix: prefix, after: after, store: store)
    let results = try await concurrently(listed) { try await Keyframe.read($0.key, store: store) }
    for (listing, result) in zip(listed, results) {
      guard let number = LineKeys.number(in: listing.key, prefix: prefix) else { continue }
      lastKeyframe = max(lastKeyframe, number)
      switch result {
      case .success(let keyframe): keyframes.append(keyframe)
      case .failure(let error): damages[listing.key.name] = error
      }
    }
  }
}

/// Reads objects eight at a time, in order. A damaged or missing one is a failure in its place; a
/// failing store ends it all, and so does a key that is not at hand.
private func concurrently<Value: Sendable>(
  _ listings: [ObjectListing], _ read: @escaping @Sendable (ObjectListing) async throws -> Value
) async throws -> [Result<Value, HistoryError>] {
  var results = [Result<Value, HistoryError>?](repeating: nil, count: listings.count)
  try await withThrowingTaskGroup(of: (Int, Result<Value, HistoryError>).self) { group in
    var next = 0
    func addNext() {
      if next == listings.count { return }
      let (index, listing) = (next, listings[next])
      next += 1
      group.addTask {
        do {
          return (index, .success(try await read(listing)))
        } catch let error as HistoryError where error.isOfHistory {
          return (index, .failure(error))
        }
      }
    }
    for _ in 0..<8 { addNext() }
    while let (index, result) = try await group.next() {
      results[index] = result
      addNext()
    }
  }
  return results.compactMap(\.self)
}
