/// Everything that changed in a volume between two seals: what becomes a layer.
///
/// It stays readable until the volume is told that it may forget it; see ``Volume``. History reads
/// it
/// through this protocol, so that neither target needs the other's inside.
public protocol SealedEpoch: Sendable {
  /// 1, 2, 3 … in the order of sealing, without a gap, over the life of the volume.
  var number: UInt64 { get }
  /// The whole persistent tree at the seal, without files that live outside history.
  var tree: FileTreeSnapshot { get }
  /// Changed files in order of identity.
  var files: [EpochFile] { get }
  /// Copies the image of one changed block as of the seal into `buffer` (``blockSize`` bytes).
  func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer) throws
}

/// The part of one file that changed in an epoch.
public struct EpochFile: Sendable {
  public var id: FileID
  /// Blocks at or above this were cut off or never existed at some time in the epoch: they do not
  /// come from
  /// anything older. 0 for a file created in the epoch, `UInt32.max` where nothing was cut off.
  public var floor: UInt32
  /// Changed blocks, ascending, without repetition.
  public var blocks: [UInt32]

  public init(id: FileID, floor: UInt32, blocks: [UInt32]) {
    self.id = id
    self.floor = floor
    self.blocks = blocks
  }
}
