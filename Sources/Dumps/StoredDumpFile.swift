import CCRC32C
import ControlPlane
import Foundation
import ObjectStorage
import Synchronization

/// A dump as it is downloaded: the archive itself, or a tar of the archive's directory that is laid
/// out when it is read. Every byte is checked against what was written.
final class StoredDumpFile: DumpFile {
  private enum Content {
    case bytes([UInt8])
    case stored(pack: Int, offset: Int)
  }

  private struct Piece {
    var start: Int
    var length: Int
    var content: Content
  }

  private struct Block {
    var pack: Int
    var number: Int
    var bytes: [UInt8]
  }

  let size: Int
  private let pieces: [Piece]
  private let store: any ObjectStore
  private let dump: String
  private let packs: [StoredManifest.Pack]
  private let attempt: String?
  private let last = Mutex<Block?>(nil)

  /// - Parameter directory: what a tar's files lie below.
  init(_ manifest: StoredManifest, dump: String, directory: String, store: any ObjectStore) {
    self.store = store
    self.dump = dump
    packs = manifest.packs
    attempt = manifest.attempt
    var pieces: [Piece] = []
    var position = 0
    func add(_ content: Content, _ length: Int) {
      guard length > 0 else { return }
      pieces.append(Piece(start: position, length: length, content: content))
      position += length
    }
    for file in manifest.files {
      if manifest.format == .directory {
        let header = Tar.header(
          "\(directory)/\(file.name)", size: file.size, date: manifest.createdAt)
        add(.bytes(header), header.count)
      }
      for extent in file.extents {
        add(.stored(pack: extent.pack, offset: extent.offset), extent.length)
      }
      guard manifest.format == .directory else { continue }
      let rest = Tar.padding(file.size)
      add(.bytes([UInt8](repeating: 0, count: rest)), rest)
    }
    if manifest.format == .directory {
      add(.bytes([UInt8](repeating: 0, count: 2 * Tar.block)), 2 * Tar.block)
    }
    self.pieces = pieces
    size = position
  }

  func read(from offset: Int, to end: Int) async throws -> [UInt8] {
    precondition((0..<size).contains(offset) && end > offset, "nothing to read")
    let piece = pieces[index(of: offset)]
    let skip = offset - piece.start
    let wanted = min(end - offset, piece.length - skip)
    switch piece.content {
    case .bytes(let bytes): return Array(bytes[skip..<(skip + wanted)])
    case .stored(let pack, let start):
      return try await stored(pack, start + skip, wanted)
    }
  }

  private func index(of offset: Int) -> Int {
    var (low, high) = (0, pieces.count - 1)
    while low < high {
      let middle = (low + high + 1) / 2
      if pieces[middle].start <= offset { low = middle } else { high = middle - 1 }
    }
    return low
  }

  /// Up to `count` bytes of a pack, at most to the end of the block that they begin in.
  private func stored(_ pack: Int, _ offset: Int, _ count: Int) async throws -> [UInt8] {
    let number = offset / StoredManifest.block
    let block = try await block(pack, number)
    let skip = offset - number * StoredManifest.block
    return Array(block[skip..<min(skip + count, block.count)])
  }

  private func block(_ pack: Int, _ number: Int) async throws -> [UInt8] {
    if let known = last.withLock({ $0 }), known.pack == pack, known.number == number {
      return known.bytes
    }
    let start = number * StoredManifest.block
    let end = min(start + StoredManifest.block, packs[pack].size)
    let key = StoredManifest.key(dump, pack: pack, attempt: attempt)
    let bytes = try await store.get(key, range: UInt64(start)..<UInt64(end))
    let sum = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) }
    guard bytes.count == end - start, sum == packs[pack].sums[number] else {
      throw DumpError(
        "read dump '\(dump)': object '\(key)' is damaged at \(start): checksum "
          + "\(String(sum, radix: 16)), expected \(String(packs[pack].sums[number], radix: 16))",
        hint: "make another dump; this one cannot be trusted")
    }
    last.withLock { $0 = Block(pack: pack, number: number, bytes: bytes) }
    return bytes
  }
}

/// The `ustar` form of tar (POSIX.1-1988), with GNU's binary sizes from 8 GiB on.
enum Tar {
  static let block = 512

  static func padding(_ size: Int) -> Int { (block - size % block) % block }

  /// - Parameter name: at most 100 bytes.
  static func header(_ name: String, size: Int, date: Date) -> [UInt8] {
    precondition(name.utf8.count <= 100, "tar name '\(name)' is too long")
    var header = [UInt8](repeating: 0, count: block)
    func put(_ text: String, at offset: Int) {
      header.replaceSubrange(offset..<(offset + text.utf8.count), with: Array(text.utf8))
    }
    func octal(_ value: Int, _ digits: Int, at offset: Int) {
      let text = String(value, radix: 8)
      put(String(repeating: "0", count: digits - text.count) + text, at: offset)
    }
    put(name, at: 0)
    octal(0o600, 7, at: 100)
    octal(0, 7, at: 108)
    octal(0, 7, at: 116)
    if size < 1 << 33 {
      octal(size, 11, at: 124)
    } else {
      header[124] = 0x80
      for index in 0..<8 { header[135 - index] = UInt8(truncatingIfNeeded: size >> (8 * index)) }
    }
    octal(max(0, Int(date.timeIntervalSince1970)), 11, at: 136)
    put("        ", at: 148)
    put("0", at: 156)
    put("ustar", at: 257)
    put("00", at: 263)
    let sum = header.reduce(0) { $0 + Int($1) }
    octal(sum, 6, at: 148)
    header[154] = 0
    return header
  }
}
