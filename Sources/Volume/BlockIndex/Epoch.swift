import DurableIO

/// What changed in one file in one epoch.
final class FileIndex {
  /// Blocks at or above this do not come from anything older.
  var floor = UInt32.max
  var map = BlockMap()

  func cut(at block: UInt32) {
    floor = min(floor, block)
    map.removeBlocks(from: block)
  }
}

/// The index of everything written between two seals.
///
/// *State and invariants.* Changes only while it is the current epoch, under the volume's state
/// lock; after
/// the seal nothing in it changes except the three flags (same lock), so that sealed epochs are
/// read without a lock.
final class Epoch: @unchecked Sendable {
  let number: UInt64
  /// Places in the index count from the start of this segment.
  let firstSegment: UInt32
  var index: [FileID: FileIndex] = [:]
  /// Segments that hold this epoch's blocks.
  var segments: [UInt32: LogSegment] = [:]
  /// Files whose last name went away in this epoch.
  var removed: [FileID] = []
  var tree = FileTreeSnapshot(entries: [], nextFileID: .root)
  /// Where the next epoch's first record is, once sealed.
  var end = LogPosition(segment: 0, offset: 0)
  var endSequence: UInt64 = 0
  /// The seal is synced: it may be destaged.
  var isDurable = false
  var isDestaged = false
  var isForgotten = false

  init(number: UInt64, firstSegment: UInt32) {
    self.number = number
    self.firstSegment = firstSegment
  }

  func fileIndex(_ file: FileID) -> FileIndex {
    if let found = index[file] { return found }
    let made = FileIndex()
    index[file] = made
    return made
  }

  /// Segment sizes differ by configuration; places always count 64 MiB a segment.
  static let placesPerSegment: UInt64 = (64 << 20) / 16

  func place(segment: UInt32, offset: UInt64) -> UInt64 {
    UInt64(segment - firstSegment) * Self.placesPerSegment + offset / 16
  }

  func position(of place: UInt64) -> LogPosition {
    LogPosition(
      segment: firstSegment + UInt32(place / Self.placesPerSegment),
      offset: place % Self.placesPerSegment * 16)
  }

  /// Reads consecutive bytes at a place of this epoch.
  func read(_ place: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
    let position = position(of: place)
    guard let segment = segments[position.segment] else {
      throw VolumeError(.damaged, "read page log: no segment \(position.segment)")
    }
    let count = try segment.file.read(
      into: buffer, at: position.offset, operation: "read page log")
    guard count == buffer.count else {
      throw VolumeError(
        .damaged, "read page log: \(segment.file.path) ends before offset \(position.offset)")
    }
  }
}

/// A sealed epoch as history sees it.
struct SealedEpochView: SealedEpoch {
  let epoch: Epoch

  var number: UInt64 { epoch.number }
  var tree: FileTreeSnapshot { epoch.tree }

  var files: [EpochFile] {
    let alive = Set(epoch.tree.entries.lazy.map(\.id))
    return epoch.index.filter { alive.contains($0.key) }.sorted { $0.key < $1.key }
      .map { id, index in
        EpochFile(id: id, floor: index.floor, blocks: index.map.sorted().map(\.block))
      }
  }

  func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    precondition(buffer.count >= blockSize)
    guard let place = epoch.index[file]?.map.place(of: block), place != 0 else {
      throw VolumeError(
        .invalidArgument,
        "read block \(block) of file \(file.rawValue): not changed in epoch \(number)")
    }
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<blockSize])
    try VolumeError.wrapping { try epoch.read(place, into: target) }
  }
}
