/// One verified WAL record, looked at where it lies.
///
/// The view does not own its bytes: inside ``WALStreamReader/feed(_:at:_:)``'s closure, or inside
/// ``withRecord(_:startLSN:endLSN:format:_:)``, and nowhere else, may it and the buffers that it
/// hands out
/// be used. Copy what must last. Every offset in it was checked when it was made, so that reading
/// it
/// costs loads only.
///
/// Source: `access/xlogrecord.h`; the checks are those of `DecodeXLogRecord` in `xlogreader.c`.
public struct WALRecordView {
  /// The record's bytes as if no page header lay between them: header, block headers, data.
  public let bytes: UnsafeRawBufferPointer
  /// Where the record begins: never a page boundary, since a page header comes first there.
  public let startLSN: LSN
  /// Where the next record may begin: the end rounded up to 8 bytes, or the segment's end after a
  /// switch. May be a page boundary.
  public let endLSN: LSN
  /// `xl_xid`; 0 when no transaction wrote the record.
  public let xid: UInt32
  /// `xl_prev`: where the record before this one begins.
  public let previousLSN: LSN
  /// `xl_info`, all eight bits.
  public let info: UInt8
  public let resourceManager: ResourceManager
  public let crc: UInt32
  /// The blocks that the record names, in the order of their ids.
  public let blockReferences: UnsafeBufferPointer<BlockReference>
  public let format: PostgresMajor
  /// `XLR_BLOCK_ID_TOPLEVEL_XID`: the top transaction of a subtransaction's first record; 0 if
  /// absent.
  public let toplevelXID: UInt32
  /// `XLR_BLOCK_ID_ORIGIN`: the replication origin; 0 if absent.
  public let origin: UInt16
  let mainDataOffset: Int

  /// `xl_tot_len`.
  @inlinable
  public var totalLength: Int { bytes.count }

  /// The upper four bits of `info`, which say what kind of record of its resource manager this is.
  @inlinable
  public var opcode: UInt8 { info & 0xF0 }

  /// `XLR_SPECIAL_REL_UPDATE`: relation files change in ways that the block references do not show.
  @inlinable
  public var changesFilesSpecially: Bool { info & 0x01 != 0 }

  /// The part of the record that belongs to no block.
  public var mainData: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[mainDataOffset...])
  }

  /// The record's data for a block of ``blockReferences``; empty when there is none.
  public func data(of block: BlockReference) -> UnsafeRawBufferPointer {
    slice(at: block.dataOffset, count: block.dataLength)
  }

  /// The page image of a block of ``blockReferences``, hole left out and still compressed as
  /// ``BlockReference/imageCompression`` says; empty when there is none.
  public func image(of block: BlockReference) -> UnsafeRawBufferPointer {
    slice(at: block.imageOffset, count: block.imageLength)
  }

  /// The block with this id, if the record names one.
  public func blockReference(id: UInt8) -> BlockReference? {
    blockReferences.first { $0.id == id }
  }

  private func slice(at offset: UInt32, count: UInt16) -> UnsafeRawBufferPointer {
    // A reference of another record is a programmer's error and must not read past this one.
    precondition(Int(offset) + Int(count) <= bytes.count, "block reference of another record")
    return UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<(Int(offset) + Int(count))])
  }
}

extension WALRecordView {
  /// `SizeOfXLogRecord`.
  public static let headerLength = 24
  /// `XLogRecordMaxSize` of 16 and later; earlier versions stop at about 1 GB by memory limits.
  public static let maximumLength = 1020 * 1024 * 1024
}

extension WALRecordView {
  /// Parses one whole record that was kept apart from its stream and calls `body` with it.
  ///
  /// The CRC and the structure are verified; the previous link is not, as nothing is known of it.
  /// - Parameter bytes: exactly `xl_tot_len` bytes without page headers.
  /// - Throws: ``FormatError``, or what `body` throws.
  public static func withRecord<Result>(
    _ bytes: UnsafeRawBufferPointer, startLSN: LSN, endLSN: LSN, format: PostgresMajor,
    _ body: (WALRecordView) throws -> Result
  ) throws -> Result {
    guard let base = bytes.baseAddress, bytes.count >= headerLength else {
      throw FormatError(
        .recordLength, lsn: startLSN, expected: "at least \(headerLength)", found: "\(bytes.count)")
    }
    guard base.u32(0) == UInt32(truncatingIfNeeded: bytes.count) else {
      throw FormatError(
        .recordLength, lsn: startLSN, expected: "\(bytes.count)", found: "\(base.u32(0))")
    }
    try WALRecordParser.verifyCRC(base, count: bytes.count, at: startLSN)
    return try withUnsafeTemporaryAllocation(
      of: BlockReference.self, capacity: BlockReference.limit
    ) { blocks in
      blocks.initialize(repeating: .empty)
      let parser = WALRecordParser(table: format.format, blocks: blocks)
      return try body(parser.parse(base, count: bytes.count, start: startLSN, end: endLSN))
    }
  }
}
