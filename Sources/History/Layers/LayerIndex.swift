import Volume

/// Which blocks one object of a layer holds, and where.
///
/// Blocks are numbered in the order of their addresses: block number `n` of the object lies in
/// part `n / blocksPerPart`. Consecutive blocks of a file make one run, so that a table written
/// whole costs a few bytes.
struct LayerIndex: Sendable {
  struct Run: Sendable {
    var start: UInt32
    var count: UInt32
    /// The number of the first block among those of the object.
    var ordinal: UInt32
    var end: UInt32 { start + count }
  }

  private(set) var blocksPerPart: Int
  private(set) var blockCount: UInt32 = 0
  /// Ascending.
  private(set) var files: [UInt64] = []
  private(set) var floors: [UInt32] = []
  /// `runs[runStarts[i]..<runStarts[i + 1]]` belong to `files[i]`.
  private var runStarts: [Int] = [0]
  private var runs: [Run] = []

  init(blocksPerPart: Int) { self.blocksPerPart = blocksPerPart }

  var isEmpty: Bool { files.isEmpty }

  // MARK: Building

  mutating func beginFile(_ file: FileID, floor: UInt32) {
    precondition(files.last.map { $0 < file.rawValue } ?? true, "files out of order")
    files.append(file.rawValue)
    floors.append(floor)
    runStarts.append(runs.count)
  }

  mutating func append(block: UInt32) {
    let last = runs.count - 1
    if last >= runStarts[files.count - 1], runs[last].end == block {
      runs[last].count += 1
    } else {
      precondition(
        last < runStarts[files.count - 1] || runs[last].end < block, "blocks out of order")
      runs.append(Run(start: block, count: 1, ordinal: blockCount))
      runStarts[files.count] = runs.count
    }
    blockCount += 1
  }

  // MARK: Looking up

  /// What the object knows about blocks from one on.
  enum Answer {
    /// The block and those after it are here, from this number on.
    case present(ordinal: UInt32)
    /// They are not here and come from older layers.
    case older
    /// They are not here and do not come from anything older.
    case cutOff
  }

  /// The answer for a block, and for how many blocks from it on it holds (at least one; up to
  /// `UInt32.max` where nothing follows).
  func lookUp(_ address: BlockAddress) -> (answer: Answer, count: UInt32) {
    let block = address.block
    let file = lowerBound(files, address.file.rawValue)
    guard file < files.count, files[file] == address.file.rawValue else {
      return (.older, .max - block)
    }
    let floor = floors[file]
    let next = firstRun(endingAfter: block, in: runStarts[file]..<runStarts[file + 1])
    var limit = UInt32.max
    if next < runStarts[file + 1] {
      let run = runs[next]
      if run.start <= block {
        return (.present(ordinal: run.ordinal + (block - run.start)), run.end - block)
      }
      limit = run.start
    }
    if block >= floor { return (.cutOff, limit - block) }
    return (.older, min(limit, floor) - block)
  }

  private func firstRun(endingAfter block: UInt32, in range: Range<Int>) -> Int {
    var (low, high) = (range.lowerBound, range.upperBound)
    runs.withUnsafeBufferPointer { runs in
      while low < high {
        let middle = (low + high) / 2
        if runs[middle].end > block { high = middle } else { low = middle + 1 }
      }
    }
    return low
  }

  private func lowerBound(_ values: [UInt64], _ value: UInt64) -> Int {
    var (low, high) = (0, values.count)
    values.withUnsafeBufferPointer { values in
      while low < high {
        let middle = (low + high) / 2
        if values[middle] >= value { high = middle } else { low = middle + 1 }
      }
    }
    return low
  }

  // MARK: As stored

  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: UInt64(blocksPerPart))
    writer.append(varint: UInt64(files.count))
    var previous: UInt64 = 0
    for (index, file) in files.enumerated() {
      writer.append(varint: file - previous)
      previous = file
      // 0 stands for "nothing was cut off", the usual case.
      writer.append(varint: floors[index] == .max ? 0 : UInt64(floors[index]) + 1)
      let own = runs[runStarts[index]..<runStarts[index + 1]]
      writer.append(varint: UInt64(own.count))
      var end: UInt32 = 0
      for run in own {
        writer.append(varint: UInt64(run.start - end))
        writer.append(varint: UInt64(run.count))
        end = run.end
      }
    }
    return writer.bytes
  }

  init(encoded: [UInt8], key: String) throws {
    self = try BinaryReader.decode(encoded, key: key, operation: "read index of") { reader in
      let perPart = try reader.readVarint(as: Int.self)
      guard (1...4096).contains(perPart) else { throw reader.malformed("blocks in a part") }
      var index = LayerIndex(blocksPerPart: perPart)
      let count = try reader.readCount(minimumSize: 3)
      for _ in 0..<count { try index.readFile(&reader) }
      return index
    }
  }

  private mutating func readFile(_ reader: inout BinaryReader) throws {
    let delta = try reader.readVarint()
    let (file, overflow) = (files.last ?? 0).addingReportingOverflow(delta)
    guard !overflow, delta > 0 || files.isEmpty else { throw reader.malformed("files in order") }
    let floor = try reader.readVarint()
    guard floor <= UInt64(UInt32.max) else { throw reader.malformed("a floor") }
    beginFile(FileID(file), floor: floor == 0 ? .max : UInt32(floor - 1))
    var end: UInt64 = 0
    let runCount = try reader.readCount(minimumSize: 2)
    for number in 0..<runCount {
      let gap = try reader.readVarint(as: UInt32.self)
      let count = try reader.readVarint(as: UInt32.self)
      let start = end + UInt64(gap)
      end = start + UInt64(count)
      let (total, overflow) = blockCount.addingReportingOverflow(count)
      guard count > 0, gap > 0 || number == 0, end <= UInt64(UInt32.max), !overflow else {
        throw reader.malformed("a run of blocks")
      }
      runs.append(Run(start: UInt32(start), count: count, ordinal: blockCount))
      blockCount = total
    }
    runStarts[files.count] = runs.count
  }
}
