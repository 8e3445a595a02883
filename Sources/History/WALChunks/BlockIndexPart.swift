import PostgresFormat

/// A part of a chunk's block index, decoded: flat arrays that are searched.
final class BlockIndexPart: Sendable {
  /// The runs of one relation's fork.
  struct Group: Sendable {
    var relation: RelationFork
    /// In ``blocks``.
    var runs: Range<Int>
  }

  let groups: [Group]
  /// The block of each run; ascending within a group, one block may have several runs.
  let blocks: [UInt32]
  /// `positions[starts[i]..<starts[i + 1]]` belong to run `i`.
  let starts: [UInt32]
  let positions: [BlockPosition]

  /// Bytes of memory.
  var cost: Int {
    groups.count * MemoryLayout<Group>.stride + 4 * (blocks.count + starts.count + positions.count)
      + 256
  }

  /// - Parameter units: positions lie below this.
  /// - Throws: ``HistoryError`` with code `.damaged`; never traps.
  init(encoded: UnsafeRawBufferPointer, units: UInt64, key: String) throws {
    var decoder = BlockIndexDecoder(encoded, units: units)
    do {
      try decoder.decode()
    } catch let error as BinaryReader.Malformed {
      throw HistoryError(
        .damaged, operation: "read block index of", key: key,
        detail: "expected \(error.expected) at byte \(error.offset) of \(encoded.count)")
    }
    groups = decoder.groups
    blocks = decoder.blocks
    starts = decoder.starts + [UInt32(decoder.positions.count)]
    positions = decoder.positions
  }

  /// The positions of a run.
  func positions(ofRun run: Int) -> ArraySlice<BlockPosition> {
    positions[Int(starts[run])..<Int(starts[run + 1])]
  }

  /// The runs of a key; empty where the part does not have it.
  func runs(of key: BlockKey) -> Range<Int> {
    let relation = key.relation
    guard let group = groups.first(where: { $0.relation >= relation }),
      group.relation == relation
    else { return 0..<0 }
    let first = blocks.withUnsafeBufferPointer { blocks in
      var (low, high) = (group.runs.lowerBound, group.runs.upperBound)
      while low < high {
        let middle = (low + high) / 2
        if blocks[middle] < key.block { low = middle + 1 } else { high = middle }
      }
      return low
    }
    var end = first
    while end < group.runs.upperBound, blocks[end] == key.block { end += 1 }
    return first..<end
  }
}

/// Reads a part of the index; every read is checked, none traps.
private struct BlockIndexDecoder {
  private let bytes: UnsafeRawBufferPointer
  private let units: UInt64
  private var offset = 0
  var groups: [BlockIndexPart.Group] = []
  var blocks: [UInt32] = []
  var starts: [UInt32] = []
  var positions: [BlockPosition] = []

  init(_ bytes: UnsafeRawBufferPointer, units: UInt64) {
    self.bytes = bytes
    self.units = min(units, BlockPosition.maximumUnits + 1)
    let guess = bytes.count / 4
    blocks.reserveCapacity(guess)
    starts.reserveCapacity(guess)
    positions.reserveCapacity(guess)
  }

  mutating func decode() throws {
    while offset < bytes.count {
      let relation = try relation()
      if let last = groups.last, last.relation >= relation {
        throw malformed("relations in order")
      }
      let first = blocks.count
      try runs()
      groups.append(BlockIndexPart.Group(relation: relation, runs: first..<blocks.count))
    }
  }

  private mutating func runs() throws {
    var block: UInt64?
    while true {
      let head = try varint()
      if head == 0 { return }
      guard head >> 2 >= 1 else { throw malformed("a block") }
      let (next, overflow) = (block ?? 0).addingReportingOverflow(head >> 2 - 1)
      guard !overflow, next <= UInt64(UInt32.max) else { throw malformed("a block") }
      block = next
      let count = head & 1 == 0 ? 1 : try varint()
      guard count >= 1, count <= UInt64(bytes.count - offset) else { throw malformed("a count") }
      blocks.append(UInt32(next))
      starts.append(UInt32(positions.count))
      try run(Int(count), startsPage: head & 2 != 0)
    }
  }

  private mutating func run(_ count: Int, startsPage: Bool) throws {
    let bitmap = offset
    if startsPage, count > 1 {
      offset += (count + 7) / 8
      guard offset <= bytes.count else { throw malformed("bits") }
    }
    var position: UInt64 = 0
    for index in 0..<count {
      let step = try varint()
      let (next, overflow) = position.addingReportingOverflow(step)
      guard !overflow, next < units, index == 0 || step > 0 else { throw malformed("a position") }
      position = next
      let starts =
        startsPage
        && (count == 1 || bytes[bitmap + index / 8] & 1 << UInt8(index & 7) != 0)
      positions.append(BlockPosition(units: UInt32(next), startsPage: starts))
    }
  }

  private mutating func relation() throws -> RelationFork {
    guard bytes.count - offset >= RelationFork.encodedSize,
      let fork = ForkNumber(rawValue: bytes[offset + 12])
    else { throw malformed("a relation") }
    func number(_ at: Int) -> UInt32 {
      UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + at, as: UInt32.self))
    }
    let locator = RelFileLocator(tablespace: number(0), database: number(4), relation: number(8))
    offset += RelationFork.encodedSize
    return RelationFork(locator: locator, fork: fork)
  }

  @inline(__always)
  private mutating func varint() throws -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count, shift < 64 {
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
      shift += 7
    }
    throw malformed("a varint")
  }

  private func malformed(_ expected: String) -> BinaryReader.Malformed {
    BinaryReader.Malformed(offset: offset, expected: expected)
  }
}
