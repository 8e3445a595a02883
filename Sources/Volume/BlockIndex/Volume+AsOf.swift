import DurableIO

/// Blocks that changed over several epochs, with their content as of the last one's seal.
///
/// Readable until the last epoch is forgotten, and only while no later one is sealed: the local files then
/// hold nothing newer.
public struct AccumulatedEpoch: SealedEpoch {
  private let volume: Volume
  public let number: UInt64
  public let tree: FileTreeSnapshot
  public let files: [EpochFile]

  /// - Parameter epoch: the newest one, sealed and not forgotten.
  /// - Parameter files: changed blocks, each below its file's size; what is not in the tree is passed over.
  public init(volume: Volume, epoch: any SealedEpoch, files: [EpochFile]) {
    self.volume = volume
    number = epoch.number
    tree = epoch.tree
    self.files = files
  }

  public func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    try volume.readBlock(file: file, block: block, asOf: number, into: buffer)
  }
}

extension Volume {
  /// Everything that does not come from the base view, as of the newest seal: what a layer must hold when it
  /// is not known what changed since the last one.
  public func localBlocks() -> [EpochFile] {
    withState { state in
      guard let newest = state.retained.last else { return [] }
      var changes = ChangedBlocks()
      for entry in newest.tree.entries where entry.kind == .regular {
        let count = UInt32(clamping: (entry.size + UInt64(blockSize) - 1) / UInt64(blockSize))
        guard let local = state.locals?[entry.id] else {
          changes.add([EpochFile(id: entry.id, floor: 0, blocks: Array(0..<count))])
          continue
        }
        // Bits tell nothing at the floor and above, where no block comes from the base.
        let known = min(UInt32(clamping: local.bits.count * 64), local.floor, count)
        let blocks =
          (0..<known).filter { local.contains($0) } + Array(min(local.floor, count)..<count)
        if !blocks.isEmpty || local.floor != .max {
          changes.add([EpochFile(id: entry.id, floor: local.floor, blocks: blocks)])
        }
      }
      for epoch in state.sealed { changes.add(SealedEpochView(epoch: epoch).files) }
      return changes.epochFiles()
    }
  }

  /// Copies a block as it was at an epoch's seal, which must be the newest one.
  ///
  /// - Throws: ``VolumeError`` `.invalidArgument` where a later epoch has been sealed; `.damaged`,
  ///   `.inputOutput`; what the base view throws.
  func readBlock(
    file: FileID, block: UInt32, asOf number: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<blockSize])
    try VolumeError.wrapping {
      while true {
        let source = try withState { state in
          guard state.current.number == number + 1 else {
            throw VolumeError(
              .invalidArgument, "read block as of epoch \(number): a later one was sealed")
          }
          return try state.resolveSealed(file, block)
        }
        switch source {
        case .epoch(let epoch, let place): try epoch.read(place, into: target)
        case .zeros: target.initializeMemory(as: UInt8.self, repeating: 0)
        case .base:
          try base.read(file: file, startBlock: block, count: 1, into: target)
        case .backing(let version):
          let position = UInt64(block) * UInt64(blockSize)
          let count =
            try backing.file(file)?.read(into: target, at: position, operation: "read local file")
            ?? 0
          UnsafeMutableRawBufferPointer(rebasing: target[count...])
            .initializeMemory(as: UInt8.self, repeating: 0)
          // Destaging came between: the block may have been on its way.
          guard withState({ $0.nodes[file]?.backingVersion ?? version }) == version else {
            continue
          }
        }
        return
      }
    }
  }
}

extension VolumeState {
  enum SealedSource {
    case epoch(Epoch, place: UInt64)
    case zeros, base
    case backing(version: UInt64)
  }

  /// Where a block comes from when the current epoch is not looked at.
  func resolveSealed(_ file: FileID, _ block: UInt32) throws -> SealedSource {
    for epoch in sealed.reversed() {
      guard let index = epoch.index[file] else { continue }
      let place = index.map.place(of: block)
      if place != 0 { return .epoch(epoch, place: place) }
      if block >= index.floor { return .zeros }
    }
    if let local = locals?[file], local.isInBase(block) { return .base }
    return .backing(version: nodes[file]?.backingVersion ?? 0)
  }
}
