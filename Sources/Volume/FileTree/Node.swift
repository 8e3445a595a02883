/// A file, directory or symbolic link as the volume holds it in memory.
///
/// Guarded by the volume's state lock; what the log replays is set by
/// ``VolumeState/apply(_:payload:place:)`` alone.
final class Node {
  let id: FileID
  let kind: FileKind
  let target: String
  var parent: FileID
  var name: String
  var mode: UInt16
  /// Logged bytes; staged pieces may make the visible size larger.
  var size: UInt64 = 0
  var modified: Int64
  var directory: DirectoryEntries?
  /// False once the last name is gone; the node then lives while a handle is open.
  var isLinked = true
  var openCount = 0
  /// Lives in `scratch/`, unknown to the log.
  var isScratch = false
  /// Asked from the classification when first needed.
  var fileClass: FileClass?
  /// Pieces of block writes whose rest has not come.
  var staged: [StagedBlock] = []
  /// Blocks were logged that a crash takes back; see ``ProvisionalBlocks``.
  var isProvisional = false
  /// Rises with every write and truncation.
  var changes: UInt64 = 0
  /// Rises when destaging begins and ends to write the backing file.
  var backingVersion: UInt64 = 0

  init(
    id: FileID, kind: FileKind, parent: FileID, name: String, mode: UInt16, modified: Int64,
    target: String = ""
  ) {
    self.id = id
    self.kind = kind
    self.parent = parent
    self.name = name
    self.mode = mode
    self.modified = modified
    self.target = target
    if kind == .directory { directory = DirectoryEntries() }
    if kind == .symbolicLink { size = UInt64(target.utf8.count) }
  }

  var visibleSize: UInt64 { staged.reduce(size) { max($0, $1.end) } }

  var entry: FileTreeEntry {
    FileTreeEntry(
      id: id, parent: parent, name: name, kind: kind, mode: mode,
      size: kind == .directory ? 0 : size, modified: modified, target: target)
  }
}

/// The names in a directory, in an order that stays while names come and go.
struct DirectoryEntries {
  struct Entry {
    var cookie: UInt64
    var id: FileID
    /// `nil` once removed.
    var name: String?
  }

  private var byName: [String: (id: FileID, cookie: UInt64)] = [:]
  /// Ascending by cookie.
  private var ordered: [Entry] = []
  private var nextCookie: UInt64 = 1

  var count: Int { byName.count }

  subscript(name: String) -> FileID? { byName[name]?.id }

  mutating func insert(_ name: String, _ id: FileID) {
    byName[name] = (id, nextCookie)
    ordered.append(Entry(cookie: nextCookie, id: id, name: name))
    nextCookie += 1
  }

  mutating func remove(_ name: String) {
    guard let found = byName.removeValue(forKey: name) else { return }
    ordered[firstIndex(after: found.cookie - 1)].name = nil
    if ordered.count > 32, ordered.count > byName.count * 2 {
      ordered.removeAll { $0.name == nil }
    }
  }

  /// Up to `limit` entries whose cookie is above `cookie`.
  func entries(after cookie: UInt64, limit: Int) -> [Entry] {
    var found: [Entry] = []
    for entry in ordered[firstIndex(after: cookie)...] where entry.name != nil {
      if found.count == limit { break }
      found.append(entry)
    }
    return found
  }

  private func firstIndex(after cookie: UInt64) -> Int {
    var low = 0
    var high = ordered.count
    while low < high {
      let middle = (low + high) / 2
      if ordered[middle].cookie > cookie { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

/// Consecutive pieces of one block's write, waiting for the rest.
///
/// Owned by a node; freed with ``free()``.
struct StagedBlock {
  let block: UInt32
  /// The open file that the pieces were written through; 0 for none.
  let handle: UInt64
  /// Covered bytes within the block.
  private(set) var range: Range<Int>
  let image: UnsafeMutableRawBufferPointer

  init(block: UInt32, at start: Int, handle: UInt64) {
    self.block = block
    self.handle = handle
    range = start..<start
    image = .allocate(byteCount: blockSize, alignment: 16)
  }

  /// A block that is held back: all of its bytes are here, of more than one write.
  init(block: UInt32, heldBack bytes: UnsafeRawBufferPointer) {
    self.init(block: block, at: 0, handle: 0)
    append(bytes)
  }

  var blockStart: UInt64 { UInt64(block) * UInt64(blockSize) }
  /// Byte of the file where the next piece must begin.
  var end: UInt64 { UInt64(block) * UInt64(blockSize) + UInt64(range.upperBound) }
  var start: UInt64 { UInt64(block) * UInt64(blockSize) + UInt64(range.lowerBound) }
  var isWhole: Bool { range.count == blockSize }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    UnsafeMutableRawBufferPointer(rebasing: image[range.upperBound...]).copyMemory(from: bytes)
    range = range.lowerBound..<range.upperBound + bytes.count
  }

  /// Copies what of `bytes` of the file, which begins at `offset`, is staged here.
  func overlay(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
    let low = max(start, offset)
    let high = min(end, offset + UInt64(buffer.count))
    guard low < high else { return }
    let from = Int(low - UInt64(block) * UInt64(blockSize))
    let target = UnsafeMutableRawBufferPointer(
      rebasing: buffer[Int(low - offset)..<Int(high - offset)])
    target.copyMemory(from: .init(rebasing: image[from..<from + target.count]))
  }

  func free() { image.deallocate() }
}
