import DurableIO
import Glibc

extension Volume {
  /// Writes every sealed epoch to its place in the local files, then frees what of the log is
  /// no longer needed. Blocks; the volume's own thread calls it, and tests.
  public func destage() throws {
    try destaging.turn.withLock {
      try VolumeError.wrapping {
        while let epoch = withState({ $0.sealed.first.flatMap { $0.isDurable ? $0 : nil } }) {
          try destage(epoch)
        }
        try advanceState()
        if !destaging.hasSwept { try removeLeftovers() }
      }
    }
  }

  func startDestaging() {
    destaging.start { [weak self] requests in
      guard let self else { return }
      do {
        try log.prepareNextSegment()
        try destage()
      } catch {
        // Where the disk is full they are in the way; that they could not be removed is the same failure.
        try? log.trimRetired(toNone: true)
        observers.current.failure?(error)
      }
      if requests.pressure { observers.current.pressure?() }
    }
    destaging.wake()
  }

  func stopDestaging() { destaging.stopAndWait() }

  private func destage(_ epoch: Epoch) throws {
    var touched: [FileID] = []
    var written: [FileID] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    for (id, index) in epoch.index.sorted(by: { $0.key < $1.key }) {
      let isAlive = withState { state in
        // Of a file that went after the newest seal: that seal's blocks can still be asked for.
        guard let node = state.nodes[id] else { return state.current.removed.contains(id) }
        node.backingVersion += 1
        return true
      }
      guard isAlive else { continue }
      touched.append(id)
      if try destage(epoch, id, index, buffer) { written.append(id) }
    }
    try backing.syncFolders(of: written)
    withState { state in
      for id in touched {
        state.nodes[id]?.backingVersion += 1
        guard let index = epoch.index[id], state.locals?[id] != nil else { continue }
        if index.floor != .max { state.locals?[id]?.cut(at: index.floor) }
        index.map.visitBlocks { state.locals?[id]?.insert($0) }
      }
      epoch.isDestaged = true
      state.sealed.removeFirst()
    }
  }

  /// Brings one local file up to an epoch's end, and syncs it. Returns false where there is no
  /// file and no need of one.
  private func destage(
    _ epoch: Epoch, _ id: FileID, _ index: FileIndex, _ buffer: UnsafeMutableRawBufferPointer
  ) throws -> Bool {
    if index.map.count == 0, try backing.file(id) == nil { return false }
    let file = try backing.makeFile(id)
    let limit = UInt64(index.floor) * UInt64(blockSize)
    if index.floor != .max, try file.size(operation: "destage") > limit {
      try file.truncate(to: limit, operation: "destage")
    }
    let blocks = index.map.sorted()
    var at = 0
    while at < blocks.count {
      let first = blocks[at].block
      var count = 0
      while at + count < blocks.count, blocks[at + count].block == first + UInt32(count),
        (count + 1) * blockSize <= buffer.count
      {
        let target = UnsafeMutableRawBufferPointer(
          rebasing: buffer[count * blockSize..<(count + 1) * blockSize])
        try epoch.read(blocks[at + count].place, into: target)
        count += 1
      }
      let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<(count * blockSize)])
      try file.write(
        bytes, at: UInt64(first) * UInt64(blockSize), operation: "destage")
      counters.bytesDestaged.add(UInt64(bytes.count), ordering: .relaxed)
      throttle(bytes.count)
      at += count
    }
    try file.sync(operation: "destage")
    return true
  }

  /// Spreads destaging over time where a rate is set.
  private func throttle(_ bytes: Int) {
    guard configuration.destageRate > 0 else { return }
    let microseconds = UInt64(bytes) * 1_000_000 / configuration.destageRate
    usleep(useconds_t(min(microseconds, 1_000_000)))
  }

  /// Writes the state file for the newest epoch that nothing before needs the log for; then frees
  /// the log up to it.
  private func advanceState() throws {
    let ready: (VolumeSnapshot, [FileID])? = withState { state in
      let finished = state.retained.prefix { $0.isDestaged && $0.isForgotten }
      guard let epoch = finished.last else { return nil }
      let removed = finished.flatMap(\.removed) + state.pendingRemovals
      return (
        VolumeSnapshot(
          epoch: epoch.number, position: epoch.end, sequence: epoch.endSequence, seed: seed,
          tree: epoch.tree, locals: state.locals), removed
      )
    }
    guard case (var snapshot, let removed)? = ready else { return }
    // What was not destaged because its file was unlinked later must not come back by losing that
    // record.
    try log.sync()
    let alive = Set(snapshot.tree.entries.lazy.map(\.id))
    snapshot.locals = snapshot.locals?.filter { alive.contains($0.key) }
    let path = "\(configuration.directory)/state"
    try files.replaceFile(path, with: snapshot.encode(), operation: "write volume state")
    let gone = withState { state in
      state.retained.removeAll { $0.number <= snapshot.epoch }
      state.pendingRemovals = removed.filter { state.nodes[$0] != nil }
      let gone = removed.filter { state.nodes[$0] == nil }
      for id in gone { state.locals?[id] = nil }
      return gone
    }
    while destaging.oldestSegment < snapshot.position.segment {
      try log.retire(destaging.oldestSegment)
      destaging.oldestSegment += 1
    }
    try log.trimRetired()
    for id in gone { try backing.remove(id) }
  }

  /// Removes local files that belong to nothing: of files that were unlinked but open at a crash.
  private func removeLeftovers() throws {
    let known = try backing.identities()
    let leftover = withState { state in
      // A removal that no state file has yet may still be lost in a crash.
      let recent = Set(
        (state.retained + [state.current]).flatMap(\.removed) + state.pendingRemovals)
      return known.filter { state.nodes[$0] == nil && !recent.contains($0) }
    }
    for id in leftover { try backing.remove(id) }
    destaging.markSwept()
  }
}
