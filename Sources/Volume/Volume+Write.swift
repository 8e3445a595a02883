import DurableIO

extension Volume {
  /// Writes all of `bytes`.
  ///
  /// Readable on return; durable after ``sync()``. In files with atomic blocks a piece of a block
  /// is staged (visible, not
  /// logged) until the consecutive rest arrives; a write that does not go on where the pieces end
  /// drops them, and so
  /// does releasing `handle`. In other files a write of part of a block rewrites the whole block
  /// in the log.
  /// On throw a leading part may have been written, block by block.
  /// - Parameter handle: through which file handle the write came, if any.
  /// - Throws: ``VolumeError`` `.diskFull`, `.fileTooLarge` (128 GiB), `.inputOutput`,
  /// `.notFound`, `.isDirectory`.
  public func write(
    _ file: FileID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, handle: OpenHandle? = nil
  ) throws {
    guard !bytes.isEmpty else { return }
    let end = offset + UInt64(bytes.count)
    let (isScratch, fileClass) = try withState { state in
      let node = try state.regular(file)
      return (node.isScratch, state.fileClass(of: node))
    }
    try VolumeError.wrapping {
      if isScratch {
        try writeScratch(file, at: offset, bytes)
      } else {
        guard end <= BlockMap.maximumBlocks * UInt64(blockSize) else {
          throw VolumeError(.fileTooLarge, "write file \(file.rawValue) to byte \(end)")
        }
        if fileClass.hasAtomicBlocks, let isWhole = isWholeBlock {
          if let first = fileClass.firstBlock {
            try writeHeldBack(file, at: offset, bytes) { isWhole($0, first + $1) }
          } else {
            try writeThrough(file, at: offset, bytes)
          }
        } else if fileClass.hasAtomicBlocks {
          try writeAtomic(file, at: offset, bytes, handle: handle?.rawValue ?? 0)
        } else {
          try writeThrough(file, at: offset, bytes)
        }
      }
    }
    if fileClass.isObserved { observers.current.write?(file, offset..<end) }
    checkPressure()
  }

  private func writeScratch(
    _ file: FileID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer
  ) throws {
    try scratch.makeFile(file).write(bytes, at: offset, operation: "write outside history")
    let now = configuration.clock()
    withState { state in
      guard let node = state.nodes[file] else { return }
      node.size = max(node.size, offset + UInt64(bytes.count))
      node.modified = now
    }
  }

  /// Logs whole blocks that begin at byte `offset`; at most ``LogRecord/maximumPayload`` bytes a
  /// record. Writer lock held.
  func logBlocks(
    _ file: FileID, at offset: UInt64, _ blocks: UnsafeRawBufferPointer, sizeAtLeast: UInt64,
    isProvisional: Bool = false
  ) throws {
    var done = 0
    while done < blocks.count {
      let count = min(LogRecord.maximumPayload, blocks.count - done)
      let at = offset + UInt64(done)
      var record = LogRecord(.write, file: file, argument: at)
      record.isProvisional = isProvisional
      try withState { state in
        let node = try state.regular(file)
        record.second = max(node.size, min(at + UInt64(count), sizeAtLeast))
        record.isOrphan = !node.isLinked
      }
      record.modified = configuration.clock()
      try commit(record, payload: .init(rebasing: blocks[done..<done + count]))
      done += count
    }
  }

  // MARK: Ordinary files

  private func writeThrough(
    _ file: FileID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer
  ) throws {
    let unit = UInt64(blockSize)
    let end = offset + UInt64(bytes.count)
    if offset % unit == 0, end % unit == 0 {
      return try withWriter { try logBlocks(file, at: offset, bytes, sizeAtLeast: end) }
    }
    let start = offset / unit * unit
    let length = Int((end + unit - 1) / unit * unit - start)
    try withUnsafeTemporaryAllocation(byteCount: length, alignment: 16) { image in
      let body = UnsafeMutableRawBufferPointer(
        rebasing: image[Int(offset - start)..<Int(end - start)])
      try changeBlocks(file) {
        let head = UnsafeMutableRawBufferPointer(rebasing: image[..<blockSize])
        if offset % unit != 0 { try readBlocks(file, at: start, into: head) }
        if end % unit != 0, length > blockSize || offset % unit == 0 {
          let last = UnsafeMutableRawBufferPointer(rebasing: image[(length - blockSize)...])
          try readBlocks(file, at: start + UInt64(length - blockSize), into: last)
        }
        body.copyMemory(from: bytes)
        return {
          try self.logBlocks(
            file, at: start, UnsafeRawBufferPointer(image), sizeAtLeast: end)
        }
      }
    }
  }

  /// Reads outside the writer lock, then commits inside it if the file is still what was read;
  /// else again.
  func changeBlocks(_ file: FileID, _ prepare: () throws -> () throws -> Void) throws {
    while true {
      let before = try withState { try $0.regular(file).changes }
      let action = try prepare()
      let isDone = try withWriter {
        guard try withState({ try $0.regular(file).changes }) == before else { return false }
        try action()
        return true
      }
      if isDone { return }
    }
  }

  // MARK: Files with atomic blocks

  private func writeAtomic(
    _ file: FileID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, handle: UInt64
  ) throws {
    var dropped: [Range<UInt64>] = []
    defer { reportDropped(file, dropped) }
    try withWriter {
      let end = offset + UInt64(bytes.count)
      dropped = try withState { state in
        let node = try state.regular(file)
        if node.staged.last?.end == offset { return [] }
        return node.dropStaged { _ in true }.filter {
          $0.lowerBound < offset || $0.upperBound > end
        }
      }
      var done = 0
      while done < bytes.count {
        let position = offset + UInt64(done)
        let within = Int(position % UInt64(blockSize))
        let rest = bytes.count - done
        if within == 0, rest >= blockSize {
          let count = min(rest / blockSize * blockSize, LogRecord.maximumPayload)
          try logBlocks(
            file, at: position, .init(rebasing: bytes[done..<done + count]),
            sizeAtLeast: position + UInt64(count))
          done += count
        } else {
          let count = min(blockSize - within, rest)
          try stage(file, at: position, .init(rebasing: bytes[done..<done + count]), handle)
          done += count
        }
      }
    }
  }

  /// Adds a piece to the staged block that it continues, or begins one; logs the block once it is
  /// whole.
  private func stage(
    _ file: FileID, at offset: UInt64, _ piece: UnsafeRawBufferPointer, _ handle: UInt64
  ) throws {
    let whole: StagedBlock? = try withState { state in
      let node = try state.regular(file)
      if node.staged.last?.end != offset || offset % UInt64(blockSize) == 0 {
        node.staged.append(
          StagedBlock(
            block: UInt32(offset / UInt64(blockSize)), at: Int(offset % UInt64(blockSize)),
            handle: handle))
      }
      let last = node.staged.count - 1
      node.staged[last].append(piece)
      return node.staged[last].isWhole ? node.staged[last] : nil
    }
    guard let whole else { return }
    // Whether the log took the block or not, its pieces are no longer waiting.
    defer { withState { _ = $0.nodes[file]?.dropStaged { $0.block == whole.block } } }
    try logBlocks(
      file, at: whole.end - UInt64(blockSize),
      UnsafeRawBufferPointer(whole.image), sizeAtLeast: whole.end)
  }

  func reportDropped(_ file: FileID, _ ranges: [Range<UInt64>]) {
    guard !ranges.isEmpty else { return }
    counters.droppedPieces.add(UInt64(ranges.count), ordering: .relaxed)
    let observer = observers.current.dropped
    for range in ranges { observer?(file, range) }
  }

  // MARK: Sizes

  /// Sets a file's size; what is added reads as zeros.
  public func truncate(_ file: FileID, to size: UInt64) throws {
    guard size <= BlockMap.maximumBlocks * UInt64(blockSize) else {
      throw VolumeError(.fileTooLarge, "truncate file \(file.rawValue) to \(size)")
    }
    let isScratch = try withState { try $0.regular(file).isScratch }
    try VolumeError.wrapping {
      if isScratch { return try truncateScratch(file, to: size) }
      let within = Int(size % UInt64(blockSize))
      try withUnsafeTemporaryAllocation(byteCount: blockSize, alignment: 16) { image in
        try changeBlocks(file) {
          let cutsBlock = try withState { try $0.regular(file).size > size } && within != 0
          if cutsBlock {
            try readBlocks(file, at: size - UInt64(within), into: image)
            UnsafeMutableRawBufferPointer(rebasing: image[within...])
              .initializeMemory(as: UInt8.self, repeating: 0)
          }
          let payload = UnsafeRawBufferPointer(rebasing: image[..<(cutsBlock ? blockSize : 0)])
          return { try self.commitTruncation(file, to: size, payload) }
        }
      }
    }
  }

  private func commitTruncation(
    _ file: FileID, to size: UInt64, _ payload: UnsafeRawBufferPointer
  ) throws {
    var record = LogRecord(.truncate, file: file, argument: size)
    record.isOrphan = try withState { state in
      let node = try state.regular(file)
      // The call that truncates holds the file's lock in the kernel: no write is under way. A block that is held
      // back may still be written out again below the cut.
      let holdsBack = isWholeBlock != nil
      _ = node.dropStaged { !holdsBack || $0.blockStart >= size }
      return !node.isLinked
    }
    record.modified = configuration.clock()
    try commit(record, payload: payload)
  }

  private func truncateScratch(_ file: FileID, to size: UInt64) throws {
    try scratch.makeFile(file).truncate(to: size, operation: "truncate outside history")
    let now = configuration.clock()
    withState { state in
      state.nodes[file]?.size = size
      state.nodes[file]?.modified = now
    }
  }

  /// Answers `fallocate`: the file grows to cover `range` unless `keepsSize`; nothing else is
  /// reserved.
  public func allocate(_ file: FileID, _ range: Range<UInt64>, keepsSize: Bool = false) throws {
    let size = try withState { try $0.regular(file).visibleSize }
    if !keepsSize, range.upperBound > size { try truncate(file, to: range.upperBound) }
  }

  /// Tells the volume's thread once when the log since the last seal exceeds the budget.
  private func checkPressure() {
    let logged = log.bytesAppended.load(ordering: .relaxed)
    let since = logged - min(logged, counters.bytesAtSeal.load(ordering: .relaxed))
    destaging.noteLogGrowth(logged, isOverBudget: since > configuration.logBudget)
  }
}
