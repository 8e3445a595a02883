import DurableIO
import ObjectStorage
import PostgresFormat
import Volume

/// The one writer of a line.
///
/// ## Purpose
/// Appends WAL chunks and keyframes to a line, merges layers and chunks as they age, and writes
/// manifests.
///
/// ## State and invariants
/// 1. ``uploadedLSN`` only grows; every byte of the line below it is in the store.
/// 2. Each chunk begins where the one before it ends; several may be on their way, and count in their order.
/// 3. A keyframe refers only to layers that are durable.
/// 4. No object's number is used twice: a put that failed uses its number up, because the object
///    may have become visible nevertheless. Of appended chunks that count none becomes visible after one with a
///    higher number that counts, but for those on their way together: such a one says below which LSN all was
///    stored when it set out, so that a reader who finds it alone knows that it is not the end that is missing.
/// 5. No more than ``LineWriter/ownershipInterval`` passes between the last look at the line's
///    owners and a put; a writer that has seen a higher epoch writes nothing more.
/// 6. A keyframe never has more than 8 layers: this line's own are merged to fit on top of its base.
///
/// ## On disk
/// docs/formats/line.md: keys, and the objects behind them.
///
/// ## Crash
/// At any step the store holds a line that can be read: objects become visible whole, and those
/// that nothing refers to are passed over. ``resume(_:environment:)`` takes the line over under a
/// higher epoch.
///
/// ## Concurrency
/// An actor. Keyframes wait for each other; chunks, keyframes and merges do not wait for those of another kind.
///
/// ## Not guarded here
/// Two installations that write one line at once are told apart by epoch within 10 s, not sooner.
public actor LineWriter {
  /// How old the last look at the line's owners may be when something is put.
  public static let ownershipInterval: Duration = .seconds(10)

  public nonisolated let description: LineDescription
  let environment: HistoryEnvironment
  let keys: LineKeys
  let owner: LineOwner
  var contents: LineContents
  /// Complete layers that the next keyframe goes on top of, newest group first.
  var groups: [LayerGroup]
  var hot = HotBlocks()
  /// How many of the last groups are the base's, which this line's layers are never merged with; 0 once a
  /// keyframe stands alone.
  var baseGroupCount: Int
  /// When the chunks of this writer were put, for ``mergeChunks(olderThan:)``.
  var putTimes: [ObjectNumber: Duration] = [:]
  var newObjects = 0
  /// What the line's volume reads below its own blocks.
  var base: VolumeBase
  let baseGate = AsyncGate()
  /// Chunks that are being put, in their order, without a gap.
  var underWay: [ChunkUnderWay] = []
  var withdrawn: WithdrawnChunks?
  var appendWaiters: [CheckedContinuation<Void, Never>] = []
  /// Of those that need a number while nothing is under way.
  var mergesWaiting = 0
  let layerGate = AsyncGate()
  let layerMergeGate = AsyncGate()
  let manifestGate = AsyncGate()
  /// One that became due; who comes meanwhile waits for none.
  var isManifestOnItsWay = false
  let mergeGate = AsyncGate()
  /// Chunks that were merged into others and are still in the store.
  var replacedChunks: [WALChunkReference] = []
  /// Why the last manifest could not be written; `nil` once one has been.
  public internal(set) var manifestFailure: (any Error)?
  private var sequence: UInt64 = 0
  /// Of a layer that is being made of others, while keyframes go on.
  private var reserved: UInt64?
  private var ownershipSeen: Duration
  private var fencedBy: UInt32?

  /// The writer's epoch.
  public nonisolated var epoch: UInt32 { owner.epoch }
  /// Every byte of the line's WAL below this is in the store.
  public internal(set) var uploadedLSN: LSN
  /// The sealed epoch that the next keyframe begins with, in the count of this line's volume.
  public private(set) var nextVolumeEpoch: UInt64

  init(contents: LineContents, owner: LineOwner, environment: HistoryEnvironment) {
    var contents = contents
    // A writer lists what it knows: what went must be no part of that from the beginning.
    contents.removeEvicted()
    self.contents = contents
    self.owner = owner
    self.environment = environment
    description = contents.description
    keys = contents.keys
    uploadedLSN = owner.takeoverLSN
    ownershipSeen = environment.uptime()
    base = VolumeBase(layers: owner.base)
    let newest = contents.countingKeyframes().last
    let origin = contents.description.parent
    let originBase = origin.map { $0.isLazy ? $0.base : [] } ?? []
    let groups = newest?.groups ?? origin?.base ?? []
    self.groups = groups
    baseGroupCount =
      Array(groups.suffix(originBase.count)) == originBase ? originBase.count : 0
    let own = newest?.layers.first { $0.line == contents.line }
    nextVolumeEpoch = (own?.epochs.upperBound ?? 0) + 1
  }

  /// Layers that the line's volume reads below its own blocks when it is opened; `nil` where those are the
  /// line's origin, which is brought to the branch point by WAL. See ``resume(_:environment:movesBase:)``, and
  /// ``moveBase(_:)`` for what happens while it runs.
  public nonisolated var volumeBase: [LayerReference]? { owner.base }
  /// Whether blocks of the line's base still need WAL from before the line began.
  public var standsOnBase: Bool { baseGroupCount > 0 }

  /// The newest keyframe that counts, if the line has one of its own.
  public var newestKeyframe: Keyframe? { contents.countingKeyframes().last }

  /// Start of the last stored record from `from` on whose effect only the server's replay gives.
  public func lastHardRecord(from: LSN) -> LSN? {
    contents.chunks.lazy.compactMap(\.summary.lastHardLSN).filter { $0 >= from }.max()
  }

  /// The blocks that most records of this writer's chunks touched since the newest complete layer.
  /// - Returns: of at least `count` records, those with most first.
  public func hotBlocks(atLeast count: Int, limit: Int) -> [BlockKey] {
    hot.blocks(atLeast: UInt32(clamping: count), limit: limit)
  }

  func record(_ chunk: WALChunkReference) {
    contents.chunks.append(chunk)
    contents.lastChunk = max(contents.lastChunk, chunk.number)
    putTimes[chunk.number] = environment.uptime()
    newObjects += 1
  }

  // MARK: Shared by the other concerns

  func takeNumber() -> ObjectNumber {
    sequence += 1
    if sequence == reserved { sequence += 1 }
    return ObjectNumber(epoch: owner.epoch, sequence: sequence)
  }

  /// A number far above those that are taken until ``settleReserved(_:)``.
  ///
  /// A collector takes a layer for garbage that the newest keyframe does not refer to, unless its number is higher.
  func reserveNumber() -> ObjectNumber {
    let number = sequence + 1 << 20
    reserved = number
    return ObjectNumber(epoch: owner.epoch, sequence: number)
  }

  /// From here on all numbers are above it.
  func settleReserved(_ number: ObjectNumber) {
    sequence = max(sequence, number.sequence)
    reserved = nil
  }

  func put(_ key: ObjectKey, _ body: ObjectBody, _ operation: String) async throws {
    do {
      try await environment.store.put(key, body)
    } catch {
      throw HistoryError.from(error, operation: operation, key: key.name)
    }
  }

  func record(_ keyframe: Keyframe) {
    contents.keyframes.append(keyframe)
    contents.lastKeyframe = max(contents.lastKeyframe, keyframe.number)
    newObjects += 1
    if let own = keyframe.layers.first, own.line == description.id {
      nextVolumeEpoch = own.epochs.upperBound + 1
    }
  }

  /// Looks whether a higher epoch has taken the line over, where the last look is not recent.
  ///
  /// - Parameter now: look in any case.
  /// - Throws: ``HistoryError`` with code `.fenced`; from then on always.
  func checkOwnership(now: Bool = false) async throws {
    if let fencedBy { throw fenced(by: fencedBy) }
    // Half the interval, so that a slow put still begins within it.
    let started = environment.uptime()
    if !now, started - ownershipSeen < LineWriter.ownershipInterval / 2 { return }
    let listed = try await LineOwner.list(on: description.id, store: environment.store)
    if let highest = listed.last,
      (highest.epoch, highest.token) > (owner.epoch, owner.token)
    {
      fencedBy = highest.epoch
      throw fenced(by: highest.epoch)
    }
    ownershipSeen = started
  }

  private func fenced(by epoch: UInt32) -> HistoryError {
    HistoryError(
      .fenced, operation: "write line", key: keys.description.name,
      detail: "epoch \(epoch) has taken over from epoch \(owner.epoch)")
  }
}
