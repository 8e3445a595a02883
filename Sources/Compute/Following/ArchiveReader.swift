import Foundation

/// One file of an archive.
struct ArchiveEntry: Equatable {
  enum Kind: Equatable { case file, directory, link }
  /// Without a trailing slash; nothing of it has been checked.
  var path: String
  var kind: Kind
  /// Permission bits.
  var mode: UInt16
  var size: UInt64
  /// Seconds since 1970.
  var modified: Int64
}

/// Cuts a tar archive, as PostgreSQL sends it, into its files, in pieces of any size.
///
/// *State and invariants.* 1. Bytes are taken in order. 2. A header is handed out only where its checksum is
/// right. 3. After the first zero block nothing more is read.
/// Source: POSIX.1-2017, pax, "ustar Interchange Format"; `tarCreateHeader` in `port/tar.c`.
struct ArchiveReader {
  enum Event {
    case begins(ArchiveEntry)
    case bytes(UnsafeRawBufferPointer)
  }

  private static let blockSize = 512
  private var header: [UInt8] = []
  /// Of the present file.
  private var left: UInt64 = 0
  private var padding = 0
  private(set) var isEnded = false

  /// Whether the archive ends between two files.
  var isWhole: Bool { header.isEmpty && left == 0 && padding == 0 }

  /// - Throws: ``ComputeError`` for a header that is none; what `body` throws.
  mutating func feed(
    _ bytes: UnsafeRawBufferPointer, _ body: (Event) throws -> Void
  ) throws {
    var rest = bytes
    while !rest.isEmpty, !isEnded {
      if left > 0 {
        let count = Int(min(left, UInt64(rest.count)))
        try body(.bytes(UnsafeRawBufferPointer(rebasing: rest[..<count])))
        left -= UInt64(count)
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if padding > 0 {
        let count = min(padding, rest.count)
        padding -= count
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else {
        let count = min(Self.blockSize - header.count, rest.count)
        header.append(contentsOf: rest[..<count])
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        if header.count == Self.blockSize { try begin(body) }
      }
    }
  }

  private mutating func begin(_ body: (Event) throws -> Void) throws {
    defer { header = [] }
    guard header.contains(where: { $0 != 0 }) else {
      isEnded = true
      return
    }
    let entry = try self.entry()
    if entry.kind == .file {
      left = entry.size
      padding = Int((512 - entry.size % 512) % 512)
    }
    try body(.begins(entry))
  }

  private func entry() throws -> ArchiveEntry {
    let sum = header.enumerated().reduce(UInt64(0)) { sum, byte in
      sum + UInt64((148..<156).contains(byte.offset) ? 32 : byte.element)
    }
    guard number(148, 8) == sum else { throw damaged("its checksum is wrong") }
    let kind: ArchiveEntry.Kind
    switch header[156] {
    case UInt8(ascii: "0"), 0: kind = .file
    case UInt8(ascii: "5"): kind = .directory
    case UInt8(ascii: "2"): kind = .link
    case let other: throw damaged("it is of kind \(other)")
    }
    guard let mode = number(100, 8), let size = number(124, 12), let modified = number(136, 12),
      size <= 1 << 40, modified <= 1 << 40
    else { throw damaged("a number in it is none") }
    var path = text(0, 100)
    let prefix = text(345, 155)
    if !prefix.isEmpty { path = "\(prefix)/\(path)" }
    if path.hasSuffix("/") { path.removeLast() }
    return ArchiveEntry(
      path: path, kind: kind, mode: UInt16(mode & 0o777), size: kind == .file ? size : 0,
      modified: Int64(modified))
  }

  private func text(_ start: Int, _ count: Int) -> String {
    String(decoding: header[start..<start + count].prefix { $0 != 0 }, as: UTF8.self)
  }

  /// Octal digits, or big-endian after a byte 0x80.
  private func number(_ start: Int, _ count: Int) -> UInt64? {
    let field = header[start..<start + count]
    if field.first == 0x80 {
      guard field.dropFirst().dropLast(8).allSatisfy({ $0 == 0 }) else { return nil }
      return field.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    }
    let digits = field.drop { $0 == 32 }.prefix { $0 != 0 && $0 != 32 }
    return digits.isEmpty ? 0 : UInt64(String(decoding: digits, as: UTF8.self), radix: 8)
  }

  private func damaged(_ why: String) -> ComputeError {
    ComputeError(.environment, "read the source's backup: a header of its archive is wrong: \(why)")
  }
}
