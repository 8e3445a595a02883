import CCRC32C

/// Which blocks changed over several epochs: what a layer of all of them holds.
///
/// A block's bit a file; 1 bit for 8 KiB, and no more than the file's highest changed block needs.
public struct ChangedBlocks: Equatable, Sendable {
  struct File: Equatable, Sendable {
    var floor = UInt32.max
    var bits: [UInt64] = []
  }

  private(set) var files: [FileID: File] = [:]
  /// Changed blocks of all files.
  public private(set) var count = 0

  public init() {}

  public var isEmpty: Bool { files.isEmpty }

  /// Takes in what the epoch that follows changed.
  public mutating func add(_ epoch: [EpochFile]) {
    for change in epoch {
      var file = files[change.id] ?? File()
      if change.floor != .max { cut(&file, at: change.floor) }
      for block in change.blocks { insert(block, into: &file) }
      files[change.id] = file
    }
  }

  /// Forgets files for which `isKept` is false.
  public mutating func keep(where isKept: (FileID) -> Bool) {
    for (id, file) in files where !isKept(id) {
      count -= file.bits.reduce(0) { $0 + $1.nonzeroBitCount }
      files[id] = nil
    }
  }

  /// The changes in order of identity, as an epoch tells them.
  /// - Parameter isWanted: files to leave out are false.
  public func epochFiles(where isWanted: (FileID) -> Bool = { _ in true }) -> [EpochFile] {
    files.filter { isWanted($0.key) }.sorted { $0.key < $1.key }.map { id, file in
      EpochFile(id: id, floor: file.floor, blocks: ChangedBlocks.blocks(of: file))
    }
  }

  private static func blocks(of file: File) -> [UInt32] {
    var blocks: [UInt32] = []
    for (word, bits) in file.bits.enumerated() {
      var rest = bits
      while rest != 0 {
        blocks.append(UInt32(word * 64 + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
    return blocks
  }

  private mutating func insert(_ block: UInt32, into file: inout File) {
    let word = Int(block / 64)
    if word >= file.bits.count {
      file.bits += Array(repeating: 0, count: word + 1 - file.bits.count)
    }
    let bit = UInt64(1) << UInt64(block % 64)
    if file.bits[word] & bit == 0 {
      file.bits[word] |= bit
      count += 1
    }
  }

  private mutating func cut(_ file: inout File, at block: UInt32) {
    file.floor = min(file.floor, block)
    let word = Int(block / 64)
    guard word < file.bits.count else { return }
    let kept = file.bits[word] & ((1 << UInt64(block % 64)) - 1)
    let removed =
      file.bits[word...].reduce(0) { $0 + $1.nonzeroBitCount } - kept.nonzeroBitCount
    count -= removed
    file.bits.removeLast(file.bits.count - word)
    if kept != 0 { file.bits.append(kept) }
  }
}

extension ChangedBlocks {
  private static let magic: UInt64 = 0x3154_4448_4F5A_5845  // "EXZOHDT1"

  /// As it is kept beside a volume, for the epochs up to `number`; docs/formats/changed-blocks.md.
  public func encode(epoch number: UInt64) -> [UInt8] {
    var body = ByteWriter()
    body.put(number)
    body.put(UInt32(files.count))
    for (id, file) in files.sorted(by: { $0.key < $1.key }) {
      body.put(id.rawValue)
      body.put(file.floor)
      body.put(UInt32(file.bits.count))
      for word in file.bits { body.put(word) }
    }
    var bytes = ByteWriter()
    bytes.put(Self.magic)
    bytes.put(body.bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) })
    return bytes.bytes + body.bytes
  }

  /// - Returns: `nil` for bytes that are damaged or of another kind; with them everything counts as changed.
  public static func decode(_ bytes: [UInt8]) -> (changes: ChangedBlocks, epoch: UInt64)? {
    guard bytes.count >= 24 else { return nil }
    let isWhole = bytes.withUnsafeBytes { raw in
      raw.load(UInt64.self, at: 0) == magic
        && raw.load(UInt32.self, at: 8) == exzo_crc32c(0, raw.baseAddress! + 12, raw.count - 12)
    }
    guard isWhole else { return nil }
    var reader = ByteReader(bytes: bytes, at: 12)
    guard let epoch = reader.take(UInt64.self), let count = reader.take(UInt32.self) else {
      return nil
    }
    var changes = ChangedBlocks()
    for _ in 0..<count {
      guard let (id, local) = reader.local() else { return nil }
      changes.files[id] = File(floor: local.floor, bits: local.bits)
      changes.count += local.bits.reduce(0) { $0 + $1.nonzeroBitCount }
    }
    return (changes, epoch)
  }
}
