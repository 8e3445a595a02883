/// Blocks that a replay has met and that do not count yet; see ``Volume/holdBack(until:)``.
///
/// They are put into the state by a `confirm` of their file or by a `seal`, and dropped with this where neither
/// comes. Names, sizes that are set, and other writes do not wait for them.
struct ProvisionalBlocks {
  private struct Place {
    var segment: LogSegment
    var offset: UInt64
  }

  private struct File {
    var blocks: [UInt32: Place] = [:]
    /// Bytes, as of the last of these writes.
    var size: UInt64 = 0
    var modified: Int64 = 0
  }

  private var files: [FileID: File] = [:]
  /// Nothing waits.
  var isEmpty: Bool { files.isEmpty }

  /// Takes in the next record.
  /// - Returns: whether the state is to apply it now.
  mutating func admit(_ item: LogReplay.Item, into state: VolumeState) -> Bool {
    let record = item.record
    switch record.kind {
    case .write where record.isProvisional:
      add(item)
      return false
    case .write:
      let first = UInt32(record.argument / UInt64(blockSize))
      for number in first..<first + UInt32(record.payloadSize / blockSize) {
        files[record.file]?.blocks[number] = nil
      }
    case .truncate: cut(record)
    case .confirm: confirm(record.file, in: state)
    case .retract: files = [:]
    case .seal: for file in Array(files.keys) { confirm(file, in: state) }
    default: break
    }
    return true
  }

  private mutating func add(_ item: LogReplay.Item) {
    let record = item.record
    var file = files.removeValue(forKey: record.file) ?? File()
    let first = UInt32(record.argument / UInt64(blockSize))
    for number in 0..<record.payloadSize / blockSize {
      file.blocks[first + UInt32(number)] = Place(
        segment: item.segment, offset: item.payloadOffset + UInt64(number * blockSize))
    }
    (file.size, file.modified) = (record.second, record.modified)
    files[record.file] = file
  }

  /// The size is set: what lies behind it is gone, and a last block that was cut comes with the record.
  private mutating func cut(_ record: LogRecord) {
    guard var file = files[record.file] else { return }
    let kept = UInt32(record.argument / UInt64(blockSize))
    let hasLast = record.payloadSize > 0
    let end = UInt32((record.argument + UInt64(blockSize) - 1) / UInt64(blockSize))
    file.blocks = file.blocks.filter { $0.key < (hasLast ? kept : end) }
    file.size = 0
    files[record.file] = file.blocks.isEmpty ? nil : file
  }

  private mutating func confirm(_ id: FileID, in state: VolumeState) {
    guard let file = files.removeValue(forKey: id), let node = state.nodes[id] else { return }
    let index = state.current.fileIndex(id)
    for (block, place) in file.blocks {
      let segment = place.segment
      state.current.segments[segment.number] = segment
      index.map.set(
        block, to: state.current.place(segment: segment.number, offset: place.offset))
    }
    node.size = max(node.size, file.size)
    node.modified = file.modified
    node.changes += 1
  }
}
