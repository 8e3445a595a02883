import DurableIO

extension Volume {
  /// Reads up to `buffer.count` bytes; fewer only at the file's end.
  ///
  /// Sees every write that returned before, staged pieces included. Blocks at most for the state
  /// lock and its own I/O.
  /// - Throws: ``VolumeError`` `.notFound`, `.isDirectory`, `.inputOutput`, `.damaged`, or what
  /// the base view throws;
  ///   the buffer's content is then unspecified.
  public func read(
    _ file: FileID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws -> Int {
    while true {
      let (size, isScratch, changes, isStaged) = try withState { state in
        let node = try state.regular(file)
        return (node.visibleSize, node.isScratch, node.changes, !node.staged.isEmpty)
      }
      guard offset < size else { return 0 }
      let count = Int(min(UInt64(buffer.count), size - offset))
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      try VolumeError.wrapping {
        if isScratch {
          try readLocal(try scratch.file(file), at: offset, into: target)
        } else {
          try readBlocks(file, at: offset, into: target)
        }
      }
      let isCurrent = withState { state in
        guard let node = state.nodes[file] else { return true }
        for piece in node.staged { piece.overlay(target, at: offset) }
        // What was staged may have entered the log after it was read.
        return !isStaged || node.changes == changes
      }
      if isCurrent { return count }
    }
  }

  /// Fills `buffer` from the file's logged content, zeros past what exists; staged pieces are not
  /// looked at.
  func readBlocks(
    _ file: FileID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    var done = 0
    while done < buffer.count {
      let position = offset + UInt64(done)
      guard position / UInt64(blockSize) < BlockMap.maximumBlocks else {
        UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
          .initializeMemory(as: UInt8.self, repeating: 0)
        return
      }
      let block = UInt32(position / UInt64(blockSize))
      let within = Int(position % UInt64(blockSize))
      let blocks = (within + buffer.count - done + blockSize - 1) / blockSize
      let run = try withState { state in
        try state.resolve(try state.node(file), block: block, limit: blocks)
      }
      let length = min(run.count * blockSize - within, buffer.count - done)
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + length])
      if try readRun(run, file, block, within, into: part) { done += length }
    }
  }

  /// Reads part of a run, `within` bytes into its first block. Returns false where destaging came
  /// between: resolve again.
  private func readRun(
    _ run: BlockRun, _ file: FileID, _ block: UInt32, _ within: Int,
    into buffer: UnsafeMutableRawBufferPointer
  ) throws -> Bool {
    switch run.source {
    case .zeros:
      buffer.initializeMemory(as: UInt8.self, repeating: 0)
    case .log(let segment, let offset):
      let count = try segment.file.read(
        into: buffer, at: offset + UInt64(within), operation: "read page log")
      guard count == buffer.count else {
        throw VolumeError(
          .damaged, "read page log: \(segment.file.path) ends before offset \(offset)")
      }
    case .backing(let version):
      let position = UInt64(block) * UInt64(blockSize) + UInt64(within)
      try readLocal(try backing.file(file), at: position, into: buffer)
      return withState { ($0.nodes[file]?.backingVersion ?? version) == version }
    case .base:
      try readBase(file, block, within, into: buffer)
    }
    return true
  }

  private func readLocal(
    _ local: (any OpenFile)?, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let count = try local?.read(into: buffer, at: offset, operation: "read local file") ?? 0
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
      .initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// The base answers whole blocks only: the ends go through a block of their own.
  private func readBase(
    _ file: FileID, _ block: UInt32, _ within: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    var block = block
    var done = 0
    while done < buffer.count {
      let from = done == 0 ? within : 0
      if from == 0, buffer.count - done >= blockSize {
        let count = (buffer.count - done) / blockSize
        let whole = UnsafeMutableRawBufferPointer(
          rebasing: buffer[done..<done + count * blockSize])
        try base.read(file: file, startBlock: block, count: count, into: whole)
        done += whole.count
        block += UInt32(count)
        continue
      }
      let length = min(blockSize - from, buffer.count - done)
      try withUnsafeTemporaryAllocation(byteCount: blockSize, alignment: 16) { image in
        try base.read(file: file, startBlock: block, count: 1, into: image)
        UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + length])
          .copyMemory(from: .init(rebasing: image[from..<from + length]))
      }
      done += length
      block += 1
    }
  }
}
