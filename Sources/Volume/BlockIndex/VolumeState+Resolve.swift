/// Where consecutive blocks of a file come from.
struct BlockRun {
  enum Source {
    case log(LogSegment, offset: UInt64)
    /// The local file; valid while the file's backing version is this.
    case backing(version: UInt64)
    case base
    case zeros
  }
  var source: Source
  var count: Int
}

extension VolumeState {
  /// Place of one block among the epochs: in the log, cut off, or older.
  private enum Found: Equatable {
    case log(epoch: Int, place: UInt64)
    case zeros, backing, base
  }

  /// Finds where up to `limit` blocks from `block` on come from: as many as share one consecutive
  /// source.
  func resolve(_ node: Node, block: UInt32, limit: Int) throws -> BlockRun {
    let first = find(node.id, block)
    var count = 1
    while count < limit {
      let next = find(node.id, block + UInt32(count))
      if case .log(let epoch, let place) = first {
        guard next == .log(epoch: epoch, place: place + UInt64(count * (blockSize / 16))) else {
          break
        }
      } else if next != first {
        break
      }
      count += 1
    }
    switch first {
    case .log(let number, let place):
      let epoch = number == sealed.count ? current : sealed[number]
      let position = epoch.position(of: place)
      guard let segment = epoch.segments[position.segment] else {
        throw VolumeError(.damaged, "read page log: no segment \(position.segment)")
      }
      return BlockRun(source: .log(segment, offset: position.offset), count: count)
    case .zeros: return BlockRun(source: .zeros, count: count)
    case .backing:
      return BlockRun(source: .backing(version: node.backingVersion), count: count)
    case .base: return BlockRun(source: .base, count: count)
    }
  }

  private func find(_ file: FileID, _ block: UInt32) -> Found {
    var number = sealed.count
    while number >= 0 {
      let epoch = number == sealed.count ? current : sealed[number]
      if let index = epoch.index[file] {
        let place = index.map.place(of: block)
        if place != 0 { return .log(epoch: number, place: place) }
        if block >= index.floor { return .zeros }
      }
      number -= 1
    }
    if let local = locals?[file], local.isInBase(block) { return .base }
    return .backing
  }
}
