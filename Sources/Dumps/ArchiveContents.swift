import ControlPlane
import Foundation

/// The table of contents of an archive in PostgreSQL's custom or directory format.
///
/// Source: `bin/pg_dump/pg_backup_archiver.c`, `ReadHead` and `ReadToc`, archive versions 1.14 (12 to
/// 15), 1.15 (16) and 1.16 (17 and 18).
struct ArchiveContents: Sendable {
  enum Section: Int, Sendable {
    case none = 1
    case preData
    case data
    case postData
  }

  struct Entry: Sendable {
    var id: Int
    /// What it is called in its namespace.
    var tag: String
    /// What it is, such as `TABLE DATA`.
    var kind: String
    var section: Section
    /// The statements that make it; empty for data.
    var definition: String
    var namespace: String
    var owner: String
    var dependencies: [Int]
  }

  let entries: [Entry]

  /// - Parameter bytes: begin with the archive's head; of a custom archive data may follow.
  /// - Throws: ``DumpError`` where they are no archive of a version that is known.
  init(_ bytes: [UInt8], path: String) throws {
    var reader = Reader(bytes: bytes, path: path)
    guard try reader.take(5) == Array("PGDMP".utf8) else {
      throw reader.malformed("it does not begin with PGDMP")
    }
    let version = try (reader.byte(), reader.byte(), reader.byte())
    guard version.0 == 1, (14...16).contains(version.1) else {
      throw reader.malformed("its version is \(version.0).\(version.1), known are 1.14 to 1.16")
    }
    reader.integerBytes = Int(try reader.byte())
    let offsetBytes = Int(try reader.byte())
    guard (1...8).contains(reader.integerBytes), (1...8).contains(offsetBytes) else {
      throw reader.malformed("its integers have \(reader.integerBytes) bytes")
    }
    let format = try reader.byte()
    if version.1 >= 15 { _ = try reader.byte() } else { _ = try reader.integer() }
    for _ in 0..<7 { _ = try reader.integer() }
    for _ in 0..<3 { _ = try reader.text() }
    let count = try reader.integer()
    guard count >= 0, count <= bytes.count else { throw reader.malformed("\(count) entries") }
    var entries: [Entry] = []
    entries.reserveCapacity(count)
    for _ in 0..<count {
      let entry = try reader.entry(version: version.1)
      // The first one; what is read before it holds no names.
      if entry.kind == "ENCODING" { reader.decoder = TextDecoder(statement: entry.definition) }
      entries.append(entry)
      try reader.skipPlace(format, offsetBytes)
    }
    self.entries = entries
  }
}

extension ArchiveContents {
  fileprivate struct Reader {
    let bytes: [UInt8]
    let path: String
    var position = 0
    var integerBytes = 4
    /// `nil` for UTF-8.
    var decoder: TextDecoder?

    init(bytes: [UInt8], path: String) {
      self.bytes = bytes
      self.path = path
    }

    func malformed(_ reason: String) -> DumpError {
      DumpError("read archive '\(path)' at byte \(position): \(reason)")
    }

    mutating func byte() throws -> UInt8 {
      guard position < bytes.count else { throw malformed("it ends early") }
      defer { position += 1 }
      return bytes[position]
    }

    mutating func take(_ count: Int) throws -> [UInt8] {
      guard count >= 0, count <= bytes.count - position else {
        throw malformed("\(count) bytes are wanted, \(bytes.count - position) are left")
      }
      defer { position += count }
      return Array(bytes[position..<(position + count)])
    }

    /// A sign and an absolute value, least significant byte first.
    mutating func integer() throws -> Int {
      let isNegative = try byte() != 0
      let value = try take(integerBytes).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      guard let found = Int(exactly: value) else { throw malformed("a number is too large") }
      return isNegative ? -found : found
    }

    /// `nil` where the length is -1.
    mutating func text() throws -> String? {
      let count = try integer()
      guard count >= 0 else { return nil }
      let text = try take(count)
      guard let decoder, text.contains(where: { $0 >= 0x80 }) else {
        return String(decoding: text, as: UTF8.self)
      }
      return decoder.decode(text)
    }

    mutating func entry(version: UInt8) throws -> Entry {
      let id = try integer()
      _ = try integer()  // whether there is data
      _ = try text()  // catalog
      _ = try text()  // object id
      let tag = try text() ?? ""
      let kind = try text() ?? ""
      let section = Section(rawValue: try integer()) ?? .none
      let definition = try text() ?? ""
      _ = try text()  // DROP statement
      _ = try text()  // COPY statement
      let namespace = try text() ?? ""
      _ = try text()  // tablespace
      _ = try text()  // table access method
      if version >= 16 { _ = try integer() }  // relation kind
      let owner = try text() ?? ""
      _ = try text()  // WITH OIDS, long gone
      var dependencies: [Int] = []
      while let dependency = try text() {
        guard let number = Int(dependency) else { throw malformed("'\(dependency)' is no entry") }
        dependencies.append(number)
      }
      return Entry(
        id: id, tag: tag, kind: kind, section: section, definition: definition,
        namespace: namespace, owner: owner, dependencies: dependencies)
    }

    /// Where an entry's data lie: an offset in custom archives, a file's name in directories.
    mutating func skipPlace(_ format: UInt8, _ offsetBytes: Int) throws {
      switch format {
      case 1: _ = try take(1 + offsetBytes)
      // A directory's toc.dat says that it is of a tar, whose entries look the same.
      case 3, 5: _ = try text()
      default: throw malformed("its format is \(format), known are custom and directory")
      }
    }
  }
}
