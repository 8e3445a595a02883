import DurableIO

extension Volume {
  /// Opens a volume, or makes one whose content is that of `base`.
  ///
  /// Replays the log's durable prefix, wipes what lives outside history, cuts off a torn tail.
  /// Nothing is changed when
  /// it throws `.damaged`.
  /// - Parameters:
  ///   - base: what the volume was made from; the same one at every open. ``EmptyBaseView`` for a
  ///   root volume.
  /// - Throws: ``VolumeError`` `.damaged` with file and offset where bytes that were durable are
  /// wrong or missing.
  public static func open(
    _ configuration: VolumeConfiguration, base: any BaseView = EmptyBaseView(),
    files: any FileSystem = SystemFileSystem()
  ) throws -> Volume {
    precondition((64 << 10...64 << 20).contains(configuration.segmentSize))
    return try VolumeError.wrapping {
      let snapshot = try loadOrCreate(configuration, base, files)
      let volume = try recover(configuration, base, files, snapshot)
      if configuration.destagesInBackground { volume.startDestaging() }
      return volume
    }
  }

  /// Stops the volume's thread, syncs, and closes. What was not sealed stays in the log.
  public func close() throws {
    stopDestaging()
    try makeDurable()
    try VolumeError.wrapping { try log.trimRetired(toNone: true) }
  }

  private static func loadOrCreate(
    _ configuration: VolumeConfiguration, _ base: any BaseView, _ files: any FileSystem
  ) throws -> VolumeSnapshot {
    let directory = configuration.directory
    let path = "\(directory)/state"
    if try files.status(path, operation: "open volume") != nil {
      return try VolumeSnapshot(
        decoding: files.readFile(path, operation: "read volume state"), path: path)
    }
    try files.makeDurableDirectory(directory, operation: "create volume")
    for name in ["log", "files", "scratch"] {
      try files.makeDirectory("\(directory)/\(name)", operation: "create volume")
    }
    try files.syncDirectory(directory, operation: "create volume")
    let tree = base.tree
    var locals: [FileID: LocalBlocks]?
    if !(base is EmptyBaseView) {
      locals = [:]
      for entry in tree.entries where entry.kind == .regular && entry.size > 0 {
        locals?[entry.id] = LocalBlocks()
      }
    }
    let snapshot = VolumeSnapshot(
      epoch: 0, position: LogPosition(segment: 0, offset: 0), sequence: 1,
      seed: UInt32.random(in: 1...UInt32.max), tree: tree, locals: locals)
    try files.replaceFile(path, with: snapshot.encode(), operation: "create volume")
    return snapshot
  }

  private static func recover(
    _ configuration: VolumeConfiguration, _ base: any BaseView, _ files: any FileSystem,
    _ snapshot: VolumeSnapshot
  ) throws -> Volume {
    let directory = configuration.directory
    let epoch = Epoch(number: snapshot.epoch + 1, firstSegment: snapshot.position.segment)
    let state = VolumeState(
      tree: snapshot.tree, epoch: epoch, classification: configuration.classification)
    state.locals = snapshot.locals
    let replay = LogReplay(directory: "\(directory)/log", files: files, seed: snapshot.seed)
    var provisional = ProvisionalBlocks()
    let end = try replay.run(from: snapshot.position, sequence: snapshot.sequence) { item in
      guard provisional.admit(item, into: state) else { return }
      try state.apply(
        item.record, payload: item.payload, segment: item.segment, offset: item.payloadOffset)
      if item.record.kind == .seal {
        let epoch = state.freeze(end: item.end, sequence: item.record.sequence + 1)
        epoch.tree.entries.sort { $0.id < $1.id }
        epoch.isDurable = true
      }
    }
    let log = PageLog(
      directory: "\(directory)/log", files: files, segmentSize: configuration.segmentSize,
      seed: snapshot.seed, lastSegment: end.lastSegment, nextSequence: end.nextSequence)
    let volume = Volume(
      configuration: configuration, base: base, files: files, seed: snapshot.seed, log: log,
      state: state, retainedFrom: snapshot.position)
    // What this crash took back, a later `confirm` or `seal` would bring again at the next replay.
    if !provisional.isEmpty { try volume.withWriter { try volume.commit(LogRecord(.retract)) } }
    for id in try volume.scratch.identities() { try volume.scratch.remove(id) }
    return volume
  }
}
