import DurableIO

/// Whether the bytes of a block are those of one write, by the checksum in them.
/// - Parameter number: the file class's ``FileClass/firstBlock`` and the block's place in the file.
public typealias WholeBlockCheck =
  @Sendable (_ block: UnsafeRawBufferPointer, _ number: UInt32) -> Bool

/// Volumes behind a cache that writes back when it likes.
///
/// Such a cache hands over pages of 4 KiB: half a block, or a block of which half was written anew meanwhile. The rest
/// follows, because the page is dirty again. Until then what came is *held back*: reads see it, the log does not
/// get it, and the block's last whole version stays what a crash finds. Which bytes are whole, the block's checksum says.
///
/// A checksum of 16 bits takes one of 65,536 mixtures for whole. So what comes is *provisional* in the log: a crash
/// takes it back, to what the file was at its last ``sync(_:)`` or at the last seal. Then nothing is under way: the
/// cache has sent all of the file's dirty pages, and lets nobody write before it is answered. That also is as much as
/// any file system promises.
///
/// After ``sync(_:)`` of a file every write that had returned before is in the log whole, or it throws: a block that
/// is still held back then is one whose writer died halfway.
extension Volume {
  /// Sets that writes come from such a cache. Before the first write, and for good.
  public func holdBack(until isWhole: @escaping WholeBlockCheck) { isWholeBlock = isWhole }

  /// Blocks of a file that are held back.
  public func heldBackCount(_ file: FileID) -> Int {
    withState { $0.nodes[file]?.staged.count ?? 0 }
  }

  /// Forgets every block that is held back: its last whole version is what reads see again.
  ///
  /// Only while nothing writes and no cache holds anything of this volume.
  public func dropHeldBack() {
    withWriter {
      withState { state in
        for node in state.nodes.values where !node.staged.isEmpty {
          _ = node.dropStaged { _ in true }
        }
      }
    }
  }

  /// As ``sync()``, for a file whose cached writes have all been handed over.
  /// - Throws: also ``VolumeError`` `.inputOutput` where a block is held back.
  public func sync(_ file: FileID) throws {
    if isWholeBlock != nil {
      let (count, path) = withState { state in
        (state.nodes[file]?.staged.count ?? 0, state.path(of: file) ?? "\(file.rawValue)")
      }
      guard count == 0 else {
        throw VolumeError(
          .inputOutput,
          "sync '\(path)': of \(count) blocks only part was written, or they have no valid checksum"
        )
      }
      try VolumeError.wrapping { try confirm([file]) }
    }
    try sync()
  }

  /// Says that nothing is under way in the cache any more: what came of all files is what was written.
  public func confirm() throws {
    try VolumeError.wrapping {
      try confirm(withState { $0.nodes.values.filter(\.isProvisional).map(\.id) })
    }
  }

  private func confirm(_ files: [FileID]) throws {
    try withWriter {
      for file in files {
        let node = withState { state in
          state.nodes[file].flatMap { $0.isProvisional ? $0 : nil }
        }
        guard let node else { continue }
        var record = LogRecord(.confirm, file: file)
        record.isOrphan = withState { _ in !node.isLinked }
        try commit(record)
      }
    }
  }

  /// Logs the blocks that are whole with these bytes, holds the others back.
  /// - Parameter isWhole: is given a block's number in the file.
  func writeHeldBack(
    _ file: FileID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer,
    _ isWhole: @escaping (UnsafeRawBufferPointer, UInt32) -> Bool
  ) throws {
    var done = 0
    while done < bytes.count {
      let position = offset + UInt64(done)
      let within = Int(position % UInt64(blockSize))
      let rest = bytes.count - done
      if within == 0, rest >= blockSize {
        let run = UnsafeRawBufferPointer(
          rebasing: bytes[done..<done + rest / blockSize * blockSize])
        try writeBlocks(file, at: position, run, isWhole)
        done += run.count
      } else {
        let count = min(blockSize - within, rest)
        try writePart(
          file, at: position, UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]), isWhole)
        done += count
      }
    }
  }

  private func writeBlocks(
    _ file: FileID, at offset: UInt64, _ blocks: UnsafeRawBufferPointer,
    _ isWhole: @escaping (UnsafeRawBufferPointer, UInt32) -> Bool
  ) throws {
    let first = UInt32(offset / UInt64(blockSize))
    let count = blocks.count / blockSize
    func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
      UnsafeRawBufferPointer(
        rebasing: blocks[range.lowerBound * blockSize..<range.upperBound * blockSize])
    }
    let whole = (0..<count).map { isWhole(bytes($0..<$0 + 1), first + UInt32($0)) }
    try withWriter {
      var next = 0
      while next < count {
        let start = next
        while next < count, whole[next] == whole[start] { next += 1 }
        let range = start..<next
        let numbers = first + UInt32(start)..<first + UInt32(next)
        if whole[start] {
          let at = UInt64(numbers.lowerBound) * UInt64(blockSize)
          let run = bytes(range)
          try logBlocks(
            file, at: at, run, sizeAtLeast: at + UInt64(run.count), isProvisional: true)
          withState { _ = $0.nodes[file]?.dropStaged { numbers.contains($0.block) } }
        } else {
          counters.heldBackWhole.add(UInt64(range.count), ordering: .relaxed)
          for number in range { try hold(file, first + UInt32(number), bytes(number..<number + 1)) }
        }
      }
    }
  }

  /// Holds a block back in place of what was held of it before. Writer lock held.
  private func hold(_ file: FileID, _ block: UInt32, _ bytes: UnsafeRawBufferPointer) throws {
    try withState { state in
      let node = try state.regular(file)
      _ = node.dropStaged { $0.block == block }
      node.staged.append(StagedBlock(block: block, heldBack: bytes))
    }
    counters.heldBack.add(1, ordering: .relaxed)
  }

  /// Part of a block: with what is held of it, or else with what the file has there, it may be whole.
  private func writePart(
    _ file: FileID, at offset: UInt64, _ part: UnsafeRawBufferPointer,
    _ isWhole: @escaping (UnsafeRawBufferPointer, UInt32) -> Bool
  ) throws {
    let block = UInt32(offset / UInt64(blockSize))
    let start = UInt64(block) * UInt64(blockSize)
    try withUnsafeTemporaryAllocation(byteCount: blockSize, alignment: 16) { image in
      try changeBlocks(file) {
        try readBlocks(file, at: start, into: image)
        return {
          try self.withState { state in
            for held in try state.regular(file).staged where held.block == block {
              held.overlay(image, at: start)
            }
          }
          UnsafeMutableRawBufferPointer(rebasing: image[Int(offset - start)...]).copyMemory(
            from: part)
          let bytes = UnsafeRawBufferPointer(image)
          guard isWhole(bytes, block) else { return try self.hold(file, block, bytes) }
          try self.logBlocks(
            file, at: start, bytes, sizeAtLeast: start + UInt64(blockSize), isProvisional: true)
          self.withState { _ = $0.nodes[file]?.dropStaged { $0.block == block } }
        }
      }
    }
  }
}
