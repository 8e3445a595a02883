/// The body of a checkpoint record, and the copy of it in `pg_control`.
///
/// Source: `CheckPoint` in `catalog/pg_control.h`.
public struct Checkpoint: Hashable, Sendable {
  /// Where replay starts.
  public var redo: LSN
  public var timeline: TimelineID
  /// Differs from `timeline` when the checkpoint begins a timeline.
  public var previousTimeline: TimelineID
  public var fullPageWrites: Bool
  /// Next transaction id with its epoch in the upper half.
  public var nextFullXID: UInt64
  public var nextOID: UInt32
  public var nextMultiXact: UInt32
  public var nextMultiXactOffset: UInt32
  public var oldestXID: UInt32
  public var oldestXIDDatabase: UInt32
  public var oldestMultiXact: UInt32
  public var oldestMultiXactDatabase: UInt32
  /// Seconds since the Unix epoch.
  public var time: Int64
  public var oldestCommitTimestampXID: UInt32
  public var newestCommitTimestampXID: UInt32
  public var oldestActiveXID: UInt32

  /// Bytes of the structure.
  static let length = 88

  /// - Parameter base: the structure's first byte; ``length`` bytes can be read there.
  init(at base: UnsafeRawPointer) {
    redo = LSN(base.u64(0))
    timeline = TimelineID(base.u32(8))
    previousTimeline = TimelineID(base.u32(12))
    fullPageWrites = base.u8(16) != 0
    nextFullXID = base.u64(24)
    nextOID = base.u32(32)
    nextMultiXact = base.u32(36)
    nextMultiXactOffset = base.u32(40)
    oldestXID = base.u32(44)
    oldestXIDDatabase = base.u32(48)
    oldestMultiXact = base.u32(52)
    oldestMultiXactDatabase = base.u32(56)
    time = Int64(bitPattern: base.u64(64))
    oldestCommitTimestampXID = base.u32(72)
    newestCommitTimestampXID = base.u32(76)
    oldestActiveXID = base.u32(80)
  }
}
