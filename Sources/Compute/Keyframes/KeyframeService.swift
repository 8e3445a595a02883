import Capture
import Foundation
import History
import Logging
import PostgresFormat
import Synchronization
import Volume

/// Turns completed checkpoints into keyframes.
///
/// Purpose: a write of `pg_control` whose checkpoint moved ends an epoch; the epoch becomes a
/// layer, then the keyframe
/// is written on top.
/// State: 1. one keyframe is made at a time; checkpoints that complete meanwhile are taken together
/// by the next;
/// 2. the consistent LSN is read after the seal, so every effect in the image lies at or below it;
/// 3. an epoch is forgotten by the volume only after its keyframe is durable.
/// Crash: epochs that were sealed and not forgotten are found again in the volume and go into the
/// next keyframe.
/// Concurrency: an actor; the volume's observer only rings its bell.
actor KeyframeService {
  private let volume: Volume
  private let writer: LineWriter
  private let capture: WALCapture
  private let server: ServerSession
  private let major: PostgresMajor
  private var serverVersion: String
  private let log: Logger
  /// Epochs that the line had before its volume was made.
  private let epochOffset: UInt64
  private let changesFile: ChangesFile
  /// Brings into the volume what was written to it before the call and is on its way.
  private let handOver: @Sendable () async throws -> Void
  /// What the volume's base is made by, where it was opened without replay.
  private var lazy: LazyBaseView?
  private var policy: KeyframePolicy
  /// What changed since the newest complete layer; `nil` where that is not known.
  private var changes: ChangedBlocks?
  /// The newest epoch in ``changes``.
  private var accumulated: UInt64?
  /// Where replay starts from the newest complete layer of this line, or its WAL begins.
  private var completeRedoLSN: LSN
  /// One keyframe after the other.
  private let gate = AsyncGate()
  private let bell: AsyncStream<Void>.Continuation
  private let rings: AsyncStream<Void>
  private var lastCheckpoint: LSN = .invalid
  /// As of the newest keyframe, or of the volume's opening.
  private var lastControl: ControlFile
  /// Where replay starts from the newest keyframe.
  private(set) var redoLSN: LSN
  private var waiters: [CheckedContinuation<Void, Never>] = []
  /// Keyframes made since the agent began.
  private(set) var count: UInt64 = 0
  private(set) var historyBytes: UInt64 = 0
  /// What stands in the way of keyframes or of merging their layers now; `nil` while all is well.
  var alarm: String? { failure ?? mergeFailure }
  /// Why the last keyframe failed; `nil` once one was made, and while none was tried.
  private(set) var failure: String?
  private var mergeFailure: String?
  private var merging: Task<Void, Never>?
  private var isMergingOver = false

  init(
    prepared: PreparedCompute, capture: WALCapture, server: ServerSession, serverVersion: String,
    policy: KeyframePolicy, changesFile: ChangesFile, epochOffset: UInt64 = 0,
    handOver: @escaping @Sendable () async throws -> Void = {}, log: Logger
  ) {
    self.epochOffset = epochOffset
    self.handOver = handOver
    self.policy = policy
    volume = prepared.volume
    writer = prepared.writer
    lazy = prepared.lazy
    major = prepared.control.major
    lastControl = prepared.control
    followsRecovery = prepared.expectation == nil
    redoLSN = prepared.control.checkpoint.redo
    self.changesFile = changesFile
    completeRedoLSN = prepared.writer.description.startLSN
    self.capture = capture
    self.server = server
    self.serverVersion = serverVersion
    self.log = log
    (rings, bell) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Listens to the volume. Call before the server starts, or its first checkpoint is missed.
  nonisolated func attach() {
    let bell = bell
    volume.observeWrites { _, _ in bell.yield() }
  }

  private var isEnding = false
  /// Since the last keyframe the server has come up by crash recovery.
  private var followsRecovery: Bool

  /// The server was started again on this volume.
  func noteRecovery() { followsRecovery = true }

  /// The server that is up now; its binaries may have been replaced since the last start.
  func noteServer(version: String) { serverVersion = version }

  /// Makes keyframes until ``end()``.
  func run() async {
    defer {
      isEnding = true
      wakeWaiters()
    }
    // A wake after a clean stop writes pg_control too; its checkpoint has its keyframe.
    lastCheckpoint = await writer.newestKeyframe?.checkpointLSN ?? .invalid
    for await _ in rings {
      do {
        try await takeIfDue()
        failure = nil
      } catch {
        failure = "\(error)"
        log.error("keyframe failed", metadata: ["error": "\(error)"])
        // Tried again with the next checkpoint; the epochs wait in the volume.
      }
      wakeWaiters()
      startMerging()
    }
  }

  /// Returns once a keyframe with a later redo LSN was made, or one has failed, or there will be
  /// none.
  func waitForKeyframe(after redo: LSN) async {
    guard redoLSN <= redo, !isEnding else { return }
    await withCheckedContinuation { waiters.append($0) }
  }

  private func wakeWaiters() {
    for waiter in waiters { waiter.resume() }
    waiters = []
  }

  /// No more keyframes but those that are asked for; a merge of layers is given up, which leaves them as they are.
  func end() {
    volume.observeWrites(nil)
    bell.finish()
    isMergingOver = true
    merging?.cancel()
  }

  /// Makes a keyframe if a checkpoint completed since the last one.
  func takeIfDue() async throws {
    let control = try await blocking { [volume, major] in
      try ImagePreparation(volume: volume, major: major).controlFile()
    }
    guard control.checkpointLSN != lastCheckpoint, control.state != .inCrashRecovery else { return }
    _ = try await seal(consistentAt: nil)
  }

  /// Makes a keyframe of the volume as it is.
  /// - Parameter end: the consistent LSN where the server has ended; otherwise it is asked.
  @discardableResult
  func seal(consistentAt end: LSN?) async throws -> Keyframe {
    try await gate.run { try await self.sealAlone(consistentAt: end) }
  }

  private func sealAlone(consistentAt end: LSN?) async throws -> Keyframe {
    let next = await writer.nextVolumeEpoch
    // A checkpoint has synced what went through the server's buffers. Builds of indexes and rewrites of tables
    // write past them and sync at their end: what they logged before this keyframe's redo LSN, no replay gives back.
    try await sealHandedOver(volume, handOver: handOver) { [volume, major] in
      try ImagePreparation(volume: volume, major: major).controlFile().checkpointLSN
    }
    let epochs = volume.sealedEpochs
    let due = epochs.filter { $0.number + epochOffset >= next }
      .map { HistoryEpoch($0, offset: epochOffset) }
    guard let newest = due.last else {
      throw ComputeError(.damagedHistory, "make a keyframe: the volume has no epoch to give")
    }
    let changes = try await accumulate(epochs)
    let control = try controlFile(in: due)
    lastControl = control
    let consistent: LSN
    if let end { consistent = end } else { consistent = try await server.insertLSN() }
    _ = try await capture.flush(to: consistent, timeout: .seconds(60))
    let kind = await kind(of: changes, consistentLSN: consistent)
    let held = try await held(changes, kind, in: newest.tree)
    let keyframe = try await writer.appendKeyframe(
      from: due,
      KeyframeParameters(
        timeline: control.checkpoint.timeline, checkpointLSN: control.checkpointLSN,
        redoLSN: control.checkpoint.redo, consistentLSN: consistent,
        systemIdentifier: control.systemIdentifier, postgresVersion: serverVersion),
      kind: kind, content: await content(of: newest, held, kind),
      check: pageCheck(
        hasChecksums: control.hasDataChecksums, limit: consistent,
        leavesOrphans: followsRecovery ? log : nil))
    followsRecovery = false
    try await settle(keyframe, kind, epochs, changes)
    lastCheckpoint = control.checkpointLSN
    redoLSN = control.checkpoint.redo
    return keyframe
  }

  // MARK: What a layer holds

  /// What changed since the newest complete layer, up to the newest of `epochs`.
  private func accumulate(_ epochs: [any SealedEpoch]) async throws -> ChangedBlocks {
    let kept: (changes: ChangedBlocks, epoch: UInt64)?
    if let changes, let accumulated {
      kept = (changes, accumulated)
    } else {
      kept = try await blocking { [changesFile] in try changesFile.read() }
    }
    let first = epochs.first?.number ?? 1
    var all: ChangedBlocks
    if let kept, kept.epoch + 1 >= first {
      all = kept.changes
      for epoch in epochs where epoch.number > kept.epoch { all.add(epoch.files) }
    } else {
      all = ChangedBlocks()
      if first == 1 {
        // The volume's first epochs: they are all there is.
        for epoch in epochs { all.add(epoch.files) }
      } else {
        log.notice(
          "what changed since the last complete layer is not known: all local blocks count")
        all.add(volume.localBlocks())
      }
    }
    if let tree = epochs.last?.tree {
      let alive = Set(tree.entries.lazy.map(\.id))
      all.keep { alive.contains($0) }
    }
    (changes, accumulated) = (all, epochs.last?.number)
    return all
  }

  private func kind(of changes: ChangedBlocks, consistentLSN: LSN) async -> KeyframeKind {
    let former = await writer.newestKeyframe
    // What a server replayed into its own volume may have no other description: a database copied as files.
    if former == nil, writer.description.parent?.isLazy != true { return .complete }
    if let newest = former?.groups.first, newest.redoLSN > completeRedoLSN {
      completeRedoLSN = newest.redoLSN
    }
    let bytes = consistentLSN > completeRedoLSN ? consistentLSN - completeRedoLSN : 0
    // Everything below the consistent LSN is in the store by now.
    let hard = await writer.lastHardRecord(from: completeRedoLSN)
    let kind = policy.kind(
      changedBlocks: changes.count, walBytes: bytes, isCrossable: hard == nil,
      hasRoom: await writer.hasRoomForLayer)
    return await standsAlone(changes, former, consistentLSN) ? .standalone : kind
  }

  /// Whether the base of a lazily opened line is left behind now: once its pages are made.
  private func standsAlone(
    _ changes: ChangedBlocks, _ former: Keyframe?, _ consistentLSN: LSN
  ) async -> Bool {
    guard let lazy, lazy.isMade, await writer.standsOnBase,
      let oldest = writer.description.parent?.base.last?.redoLSN
    else { return false }
    return policy.standsAlone(
      blocks: changes.count + lazy.madeCount,
      walBytes: consistentLSN > oldest ? consistentLSN - oldest : 0,
      age: age, layers: former?.layers.count ?? 0)
  }

  /// Of the line, seconds.
  private var age: Int64 {
    (HistoryEnvironment.systemTime().rawValue - writer.description.createdAt.rawValue) / 1_000_000
  }

  /// Whether a checkpoint is wanted although nobody writes, so that its keyframe can stand alone.
  var isBaseOverdue: Bool {
    get async {
      guard let lazy, lazy.isMade, policy.isOverdue(age: age) else { return false }
      return await writer.standsOnBase
    }
  }

  /// The volume reads nothing of it any more.
  func forgetBase() { lazy = nil }

  /// The blocks that the layer is about: what changed, and for a keyframe that stands alone the base's share.
  private func held(
    _ changes: ChangedBlocks, _ kind: KeyframeKind, in tree: FileTreeSnapshot
  ) async throws -> ChangedBlocks {
    guard kind == .standalone, let lazy else { return changes }
    return try await blocking {
      var all = changes
      all.add(try lazy.changesOfBase(in: tree))
      return all
    }
  }

  /// Everything that changed, or what of it WAL alone does not give back: what is no page of a relation,
  /// and free space maps, which no record describes; and pages that WAL gives back slowly.
  private func content(
    of newest: HistoryEpoch, _ changes: ChangedBlocks, _ kind: KeyframeKind
  ) async -> any SealedEpoch {
    let paths = TreePaths(newest.tree)
    var wanted = changes.epochFiles { id in
      guard let path = paths.path(of: id) else { return false }  // unlogged
      guard kind == .partial, case .relation(let file) = DataFileKind(path: path) else {
        return true
      }
      return file.fork == .freeSpaceMap
    }
    if kind == .partial {
      let hot = await writer.hotBlocks(
        atLeast: KeyframePolicy.hotRecords, limit: KeyframePolicy.hotBlocks)
      wanted += hotPages(hot, in: newest.tree)
      wanted.sort { $0.id < $1.id }
    }
    return AccumulatedEpoch(volume: volume, epoch: newest.ofVolume, files: wanted)
  }

  /// Notes that a keyframe is durable: the volume's epochs may go.
  private func settle(
    _ keyframe: Keyframe, _ kind: KeyframeKind, _ epochs: [any SealedEpoch],
    _ all: ChangedBlocks
  ) async throws {
    let layer = keyframe.layers[0]
    if keyframe.partial == nil {
      changes = ChangedBlocks()
      completeRedoLSN = keyframe.redoLSN
      policy.learn(storedBytes: layer.storedBytes, blocks: layer.blockCount)
    }
    if let changes, let last = epochs.last?.number {
      try await blocking { [changesFile] in try changesFile.write(changes, epoch: last) }
    }
    for epoch in epochs { try volume.forget(epoch: epoch.number) }
    count += 1
    historyBytes += layer.storedBytes
    log.info(
      "keyframe stored",
      metadata: [
        "redo": "\(keyframe.redoLSN)", "consistent": "\(keyframe.consistentLSN)",
        "kind": "\(kind)",
        "bytes": "\(layer.storedBytes)", "changed": "\(all.count)",
      ])
  }

  /// Merges layers where there are too many, beside other work: it may take minutes, and keyframes go on.
  private func startMerging() {
    guard merging == nil, !isMergingOver else { return }
    merging = Task {
      while await !mergeLayers() {
        // Keyframes may be long in coming.
        do { try await Task.sleep(for: .seconds(60)) } catch { break }
      }
      merging = nil
    }
  }

  /// - Returns: false where it failed.
  private func mergeLayers() async -> Bool {
    do {
      try await writer.mergeLayers()
      mergeFailure = nil
    } catch is CancellationError {
      // The compute ends; the layers stay as they are.
    } catch {
      mergeFailure = "merging layers: \(error)"
      log.error("merging layers failed", metadata: ["error": "\(error)"])
    }
    return mergeFailure == nil
  }

  /// The control file in the image itself: the live one may have moved on.
  ///
  /// Where no epoch since the last keyframe has it, it has not changed since.
  private func controlFile(in epochs: [HistoryEpoch]) throws -> ControlFile {
    for epoch in epochs.reversed() {
      if let found = try controlFile(in: epoch) { return found }
    }
    return lastControl
  }

  private func controlFile(in epoch: HistoryEpoch) throws -> ControlFile? {
    guard
      let global = epoch.tree.entries.first(where: { $0.parent == .root && $0.name == "global" }),
      let entry = epoch.tree.entries.first(where: {
        $0.parent == global.id && $0.name == "pg_control"
      })
    else { throw ComputeError(.damagedHistory, "make a keyframe: the image has no pg_control") }
    guard epoch.files.contains(where: { $0.id == entry.id && $0.blocks.contains(0) }) else {
      return nil
    }
    var bytes = [UInt8](repeating: 0, count: blockSize)
    try bytes.withUnsafeMutableBytes { try epoch.readBlock(file: entry.id, block: 0, into: $0) }
    return try ControlFile(bytes, major: major)
  }
}
