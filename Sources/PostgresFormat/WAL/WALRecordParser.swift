import CCRC32C

/// Checks a record's structure and finds its parts, block references into a buffer that is used
/// again for each record.
struct WALRecordParser {
  let table: FormatTable
  let blocks: UnsafeMutableBufferPointer<BlockReference>

  private static let idDataShort: UInt8 = 255
  private static let idDataLong: UInt8 = 254
  private static let idOrigin: UInt8 = 253
  private static let idToplevelXID: UInt8 = 252

  /// What the loop over the headers has found so far.
  private struct Progress {
    let start: LSN
    var offset = WALRecordView.headerLength
    var dataLength = 0
    var mainDataLength = 0
    var blockCount = 0
    var toplevelXID: UInt32 = 0
    var origin: UInt16 = 0
    var locator: RelFileLocator?
  }

  @inline(__always)
  static func verifyCRC(_ base: UnsafeRawPointer, count: Int, at lsn: LSN) throws {
    let body = exzo_crc32c(0, base + WALRecordView.headerLength, count - WALRecordView.headerLength)
    let computed = exzo_crc32c(body, base, 20)
    let stored = base.u32(20)
    if computed != stored {
      throw FormatError(.recordCRC, lsn: lsn, expected: hex(stored), found: hex(computed))
    }
  }

  /// The view of the record at `base`, whose length is `count` and whose CRC is right.
  ///
  /// A right CRC proves only that the bytes are as someone wrote them, so all lengths are checked.
  @inline(__always)
  func parse(_ base: UnsafeRawPointer, count: Int, start: LSN, end: LSN) throws -> WALRecordView {
    var progress = Progress(start: start)
    while count - progress.offset > progress.dataLength {
      if try !nextHeader(base, count, &progress) { break }
    }
    guard count - progress.offset == progress.dataLength else {
      throw broken(progress, "headers and data fill the record", at: progress.offset)
    }
    placeData(&progress)
    return WALRecordView(
      bytes: UnsafeRawBufferPointer(start: base, count: count), startLSN: start, endLSN: end,
      xid: base.u32(4), previousLSN: LSN(base.u64(8)), info: base.u8(16),
      resourceManager: ResourceManager(rawValue: base.u8(17)), crc: base.u32(20),
      blockReferences: UnsafeBufferPointer(start: blocks.baseAddress, count: progress.blockCount),
      format: table.major, toplevelXID: progress.toplevelXID, origin: progress.origin,
      mainDataOffset: count - progress.mainDataLength)
  }

  /// Reads one header; false when it was the main data's, which is the last.
  @inline(__always)
  private func nextHeader(
    _ base: UnsafeRawPointer, _ count: Int, _ progress: inout Progress
  ) throws -> Bool {
    let id = base.u8(progress.offset)
    switch id {
    case 0..<UInt8(BlockReference.limit):
      try blockHeader(base, count, &progress)
      return true
    case WALRecordParser.idDataShort:
      try need(2, count, progress)
      progress.mainDataLength = Int(base.u8(progress.offset + 1))
      progress.offset += 2
    case WALRecordParser.idDataLong:
      try need(5, count, progress)
      progress.mainDataLength = Int(base.u32(progress.offset + 1))
      progress.offset += 5
    case WALRecordParser.idOrigin:
      try need(3, count, progress)
      progress.origin = base.u16(progress.offset + 1)
      progress.offset += 3
      return true
    case WALRecordParser.idToplevelXID:
      try need(5, count, progress)
      progress.toplevelXID = base.u32(progress.offset + 1)
      progress.offset += 5
      return true
    default:
      throw broken(progress, "a block id", at: progress.offset, found: "\(id)")
    }
    progress.dataLength += progress.mainDataLength
    return false
  }

  @inline(__always)
  private func blockHeader(
    _ base: UnsafeRawPointer, _ count: Int, _ progress: inout Progress
  ) throws {
    try need(4, count, progress)
    let at = progress.offset
    let flags = base.u8(at + 1)
    var block = BlockReference.empty
    block.id = base.u8(at)
    guard progress.blockCount == 0 || blocks[progress.blockCount - 1].id < block.id else {
      throw broken(progress, "block ids in ascending order", at: at, found: "\(block.id)")
    }
    guard let fork = ForkNumber(rawValue: flags & 0x0F) else {
      throw broken(progress, "a fork number", at: at + 1, found: "\(flags & 0x0F)")
    }
    block.fork = fork
    block.willInit = flags & 0x40 != 0
    block.dataLength = base.u16(at + 2)
    guard (flags & 0x20 != 0) == (block.dataLength != 0) else {
      throw broken(
        progress, "data as the block's flags say", at: at + 2, found: "\(block.dataLength)")
    }
    progress.offset += 4
    if flags & 0x10 != 0 { try imageHeader(base, count, &progress, &block) }
    if flags & 0x80 == 0 {
      try need(12, count, progress)
      progress.locator = RelFileLocator(
        tablespace: base.u32(progress.offset), database: base.u32(progress.offset + 4),
        relation: base.u32(progress.offset + 8))
      progress.offset += 12
    }
    guard let locator = progress.locator else {
      throw broken(progress, "a relation before 'same relation'", at: at + 1)
    }
    block.locator = locator
    try need(4, count, progress)
    block.block = base.u32(progress.offset)
    progress.offset += 4
    progress.dataLength += Int(block.dataLength) + Int(block.imageLength)
    blocks[progress.blockCount] = block
    progress.blockCount += 1
  }

  private func imageHeader(
    _ base: UnsafeRawPointer, _ count: Int, _ progress: inout Progress,
    _ block: inout BlockReference
  ) throws {
    let at = progress.offset
    try need(5, count, progress)
    block.hasImage = true
    block.imageLength = base.u16(at)
    block.imageHoleOffset = base.u16(at + 2)
    let bits = base.u8(at + 4)
    progress.offset += 5
    block.appliesImage = bits & table.imageApplies != 0
    let hasHole = bits & 0x01 != 0
    let compressed = bits & table.imageCompressed != 0
    block.imageCompression = compression(bits)
    let pageSize = PostgresLayout.blockSize
    if compressed {
      if hasHole {
        try need(2, count, progress)
        block.imageHoleLength = base.u16(progress.offset)
        progress.offset += 2
      }
    } else {
      guard Int(block.imageLength) <= pageSize else {
        throw broken(progress, "an image of at most a page", at: at, found: "\(block.imageLength)")
      }
      block.imageHoleLength = UInt16(pageSize) - block.imageLength
    }
    let hole = (Int(block.imageHoleOffset), Int(block.imageHoleLength))
    let isSound =
      hasHole
      ? hole.0 != 0 && hole.1 != 0 && Int(block.imageLength) != pageSize
        && hole.0 + hole.1 <= pageSize
      : hole.0 == 0 && hole.1 == 0
    guard isSound, !compressed || Int(block.imageLength) < pageSize else {
      throw broken(progress, "a sound image header", at: at, found: "hole \(hole.0)+\(hole.1)")
    }
  }

  private func compression(_ bits: UInt8) -> BlockReference.ImageCompression {
    let methods = table.imageCompressionMethods
    if bits & methods.pglz != 0 { return .pglz }
    if bits & methods.lz4 != 0 { return .lz4 }
    if bits & methods.zstd != 0 { return .zstd }
    return .none
  }

  /// Gives each block the offsets of its image and data, which follow all the headers in order.
  @inline(__always)
  private func placeData(_ progress: inout Progress) {
    var offset = UInt32(progress.offset)
    for index in 0..<progress.blockCount {
      blocks[index].imageOffset = offset
      offset += UInt32(blocks[index].imageLength)
      blocks[index].dataOffset = offset
      offset += UInt32(blocks[index].dataLength)
    }
  }

  @inline(__always)
  private func need(_ bytes: Int, _ count: Int, _ progress: Progress) throws {
    if count - progress.offset < bytes {
      throw broken(progress, "\(bytes) more bytes of header", at: progress.offset)
    }
  }

  @inline(never)
  private func broken(
    _ progress: Progress, _ expected: String, at offset: Int, found: String? = nil
  ) -> FormatError {
    FormatError(
      .recordStructure, lsn: progress.start, offset: offset, expected: expected, found: found)
  }
}
