import ObjectStorage

extension CatalogJournal {
  /// Stores what was written since, if anything was.
  func publish() async throws {
    let (mark, serving) = (catalog.activity.mark, state.withLock { $0.requested })
    let time = now()
    let pending = try await catalog.snapshot("read the journal") {
      try JournalRows(connection: $0).pending(at: time)
    }
    try await checkOwnership()
    if !pending.ids.isEmpty { try await store(pending) }
    catalog.activity.published(upTo: mark)
    state.withLock { state in
      state.satisfied = max(state.satisfied, serving)
      state.status.publishedAt = time
      state.status.failure = nil
    }
    wakeServed()
  }

  private func store(_ pending: JournalRows.Pending) async throws {
    let previous = state.withLock { $0.lastChanges }
    let object = JournalObject(
      kind: .changes, number: takeNumber(), previous: previous,
      payload: try pending.header.payload(pending.lines))
    let bytes = object.encoded
    try await store.put(object.key, .bytes(bytes))
    state.withLock { state in
      state.lastChanges = object.number
      state.bytesSinceBase += bytes.count
      state.status.changesSinceBase += 1
      state.status.objectsWritten += 1
    }
    try await catalog.unjournaled("forget what the journal has stored") {
      try JournalRows(connection: $0).forget(pending.ids)
    }
  }

  var isBaseDue: Bool {
    state.withLock { state in
      state.status.changesSinceBase >= Self.changesLimit
        || state.bytesSinceBase > max(Self.smallestBase, state.status.baseBytes / 2)
    }
  }

  /// Stores the whole catalog, so that the changes before it are needed no more; keeps the base before
  /// it, with the changes since, for the case that this one is damaged.
  func writeBase() async throws {
    let through = state.withLock { $0.lastChanges }
    let time = now()
    var (header, lines) = try await catalog.snapshot("read the whole catalog") {
      try JournalRows(connection: $0).everything(at: time)
    }
    header.secretKey = secretKey
    let object = JournalObject(
      kind: .base, number: takeNumber(), previous: through, payload: try header.payload(lines))
    lines = []
    let bytes = object.encoded
    try await checkOwnership()
    try await store.put(object.key, .bytes(bytes))
    state.withLock { state in
      state.bytesSinceBase = 0
      state.status.changesSinceBase = 0
      state.status.baseBytes = bytes.count
      state.status.objectsWritten += 1
    }
    try await deleteObsolete()
  }

  private func deleteObsolete() async throws {
    let bases = try await JournalKeys.list(JournalKeys.basePrefix, store)
    guard bases.count > 2 else { return }
    let kept = bases[bases.count - 2]
    let bytes = try await store.get(kept.key, range: nil)
    let through = try JournalObject(bytes, key: kept.key).previous
    let changes = try await JournalKeys.list(JournalKeys.changesPrefix, store)
    // Never the last ones: the next changes name them as those before.
    let old = changes.filter {
      $0.number <= through && $0.number < changes[changes.count - 1].number
    }
    try await store.delete(old.map(\.key))
    try await store.delete(bases.dropLast(2).map(\.key))
  }

  private func takeNumber() -> ObjectNumber {
    state.withLock { state in
      state.sequence += 1
      return ObjectNumber(epoch: claim.epoch, sequence: state.sequence)
    }
  }

  private func checkOwnership() async throws {
    let started = ContinuousClock.now
    let isFresh = try state.withLock { state in
      if let fenced = state.fenced { throw fenced }
      return started - state.ownershipSeen < Self.ownershipInterval / 2
    }
    if isFresh { return }
    if let newer = try await ownership.newer(than: claim) { throw newer }
    state.withLock { $0.ownershipSeen = started }
  }
}
