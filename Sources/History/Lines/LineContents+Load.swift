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
      } catch let error as HistoryError where error.code != .store {
        damages[listing.key.name] = error
        continue
      }
      damages = damages.filter { $0.key.hasPrefix(keys.manifestPrefix) }
      manifest = number
      manifestBase = found.base
      chunks = found.chunks
      keyframes = found.keyframes
      lastChunk = found.lastChunk
      lastKeyframe = found.lastKeyframe
      manifestKeyframes = found.lastKeyframe
      return
    }
  }

  private mutating func refreshChunks(_ store: any ObjectStore) async throws {
    let prefix = keys.walPrefix
    let after = lastChunk.epoch == 0 ? nil : keys.wal(lastChunk)
    let listed = try await listAll(prefix: prefix, after: after, store: store)
    let results = try await concurrently(listed) { listing in
      try await WALChunkReader(listing.key, size: listing.size, store: store).summary
    }
    for (listing, result) in zip(listed, results) {
      guard let number = LineKeys.number(in: listing.key, prefix: prefix) else { continue }
      lastChunk = max(lastChunk, number)
      switch result {
      case .success(let summary):
        chunks.append(WALChunkReference(number: number, size: listing.size, summary: summary))
      case .failure(let error): damages[listing.key.name] = error
      }
    }
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
/// failing store ends it all.
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
        } catch let error as HistoryError where error.code != .store {
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
