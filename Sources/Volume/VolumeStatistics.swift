import Synchronization

/// What a volume did since it was opened, and what it holds now.
public struct VolumeStatistics: Sendable, Equatable {
  public var bytesLogged: UInt64 = 0
  public var bytesDestaged: UInt64 = 0
  /// Bytes of log since the last seal.
  public var bytesSinceSeal: UInt64 = 0
  /// Log segments on disk; each takes at most the configured size.
  public var logSegments = 0
  /// Segments that were written over a retired one.
  public var segmentsReused: UInt64 = 0
  /// `fdatasync` calls on the log.
  public var syncs: UInt64 = 0
  public var files = 0
  /// Blocks found through the log's index, all epochs.
  public var indexedBlocks = 0
  /// Bytes of memory the block index holds.
  public var indexBytes = 0
  public var openEpochs = 0
  public var droppedPieces: UInt64 = 0
  /// Times that a block was held back; see ``Volume/holdBack(until:)``.
  public var heldBack: UInt64 = 0
  /// Of these, times that the whole of a block came and did not fit together.
  public var heldBackWhole: UInt64 = 0
}

/// Counters that several threads raise.
final class VolumeCounters: Sendable {
  let bytesAtSeal = Atomic<UInt64>(0)
  let bytesDestaged = Atomic<UInt64>(0)
  let droppedPieces = Atomic<UInt64>(0)
  let heldBack = Atomic<UInt64>(0)
  let heldBackWhole = Atomic<UInt64>(0)
}

extension Volume {
  public var statistics: VolumeStatistics {
    var found = VolumeStatistics()
    found.bytesLogged = log.bytesAppended.load(ordering: .relaxed)
    found.bytesDestaged = counters.bytesDestaged.load(ordering: .relaxed)
    found.bytesSinceSeal =
      found.bytesLogged
      - min(
        found.bytesLogged, counters.bytesAtSeal.load(ordering: .relaxed))
    found.segmentsReused = log.segmentsReused.load(ordering: .relaxed)
    found.syncs = log.syncCount.load(ordering: .relaxed)
    found.droppedPieces = counters.droppedPieces.load(ordering: .relaxed)
    found.heldBack = counters.heldBack.load(ordering: .relaxed)
    found.heldBackWhole = counters.heldBackWhole.load(ordering: .relaxed)
    found.logSegments = Int(log.lastSegment) + 1 - Int(destaging.oldestSegment)
    withState { state in
      found.files = state.nodes.count
      found.openEpochs = state.retained.count + 1
      for epoch in state.retained + [state.current] {
        for index in epoch.index.values {
          found.indexedBlocks += index.map.count
          found.indexBytes += index.map.footprint + 64
        }
      }
    }
    return found
  }
}
