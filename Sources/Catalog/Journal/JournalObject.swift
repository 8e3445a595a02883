import CCRC32C
import Foundation
import ObjectStorage

/// An object of the catalog's journal: the whole catalog at one time, or what changed since.
///
/// On disk: docs/formats/catalog-journal.md.
struct JournalObject: Sendable, Equatable {
  enum Kind: UInt16, Sendable {
    /// Every row of every table, as one transaction saw them.
    case base = 1
    /// Rows written by whole transactions, in the order of their writing.
    case changes = 2
  }

  var kind: Kind
  var number: ObjectNumber
  /// Of changes: the changes before these. Of a base: the last changes that it surely holds.
  var previous: ObjectNumber
  /// Lines of JSON: a ``JournalHeader``, then one row each.
  var payload: [UInt8]

  static let magic: UInt32 = 0x4A5A_5845  // "EXZJ"
  static let version: UInt16 = 1
  static let headerSize = 56

  var key: ObjectKey { kind == .base ? JournalKeys.base(number) : JournalKeys.changes(number) }

  var encoded: [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(JournalObject.headerSize + payload.count)
    append(JournalObject.magic, to: &out)
    append(JournalObject.version, to: &out)
    append(kind.rawValue, to: &out)
    for number in [number, previous] {
      append(number.epoch, to: &out)
      append(UInt32(0), to: &out)
      append(number.sequence, to: &out)
    }
    append(UInt64(payload.count), to: &out)
    append(checksum(payload[...]), to: &out)
    append(checksum(out[...]), to: &out)
    return out + payload
  }

  init(kind: Kind, number: ObjectNumber, previous: ObjectNumber, payload: [UInt8]) {
    self.kind = kind
    self.number = number
    self.previous = previous
    self.payload = payload
  }

  /// - Throws: ``CatalogError`` `.damaged` naming the object, the offset and what was found.
  init(_ bytes: [UInt8], key: ObjectKey) throws {
    func damaged(_ detail: String) -> CatalogError {
      CatalogError(.damaged, "read catalog object '\(key)': \(detail)")
    }
    func number<Value: FixedWidthInteger>(_ offset: Int) -> Value {
      bytes.withUnsafeBytes {
        Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
      }
    }
    guard bytes.count >= JournalObject.headerSize else {
      throw damaged("\(bytes.count) bytes, its header alone has \(JournalObject.headerSize)")
    }
    guard number(0) == JournalObject.magic else { throw damaged("no catalog object at offset 0") }
    guard number(4) == JournalObject.version else {
      throw CatalogError(
        .tooNew, "read catalog object '\(key)': version \(number(4) as UInt16) is a later Exzo's")
    }
    guard number(52) == checksum(bytes[..<52]) else {
      throw damaged("the header's checksum at offset 52 does not fit")
    }
    guard let kind = Kind(rawValue: number(6)) else {
      throw damaged("kind \(number(6) as UInt16) at offset 6")
    }
    let payload = bytes[JournalObject.headerSize...]
    guard UInt64(payload.count) == number(40), number(48) == checksum(payload) else {
      throw damaged(
        "\(payload.count) bytes from offset 56 are not the \(number(40) as UInt64) written")
    }
    self.init(
      kind: kind, number: ObjectNumber(epoch: number(8), sequence: number(16)),
      previous: ObjectNumber(epoch: number(24), sequence: number(32)), payload: Array(payload))
    guard self.key == key else {
      throw damaged("it is '\(self.key)', which was put under another name")
    }
  }
}

/// What the first line of a journal object says.
struct JournalHeader: Codable, Sendable, Equatable {
  /// Seconds since 1970.
  var madeAt: Double
  /// Numbers of the migrations that the rows need.
  var migrations: [Int]
  /// Where the sequences stand: at or above all values that the rows hold.
  var sequences: [String: Int64]
  /// What passwords are sealed with, as hexadecimal digits. The object itself is sealed.
  var secretKey: String?

  enum CodingKeys: String, CodingKey {
    case migrations, sequences
    case madeAt = "made_at"
    case secretKey = "secret_key"
  }

  /// The header and the lines after it.
  /// - Throws: ``CatalogError`` `.damaged`.
  static func split(_ object: JournalObject) throws -> (JournalHeader, [Substring]) {
    let text = String(decoding: object.payload, as: UTF8.self)
    let lines = text.split(separator: "\n")
    guard let first = lines.first else {
      throw CatalogError(.damaged, "read catalog object '\(object.key)': it has no lines")
    }
    do {
      let header = try JSONDecoder().decode(JournalHeader.self, from: Data(first.utf8))
      return (header, Array(lines.dropFirst()))
    } catch {
      throw CatalogError(.damaged, "read catalog object '\(object.key)': its first line: \(error)")
    }
  }

  func payload(_ lines: [String]) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    var bytes = [UInt8](try encoder.encode(self))
    bytes.append(UInt8(ascii: "\n"))
    for line in lines {
      bytes.append(contentsOf: line.utf8)
      bytes.append(UInt8(ascii: "\n"))
    }
    return bytes
  }
}

private func append(_ value: some FixedWidthInteger, to out: inout [UInt8]) {
  withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
}

private func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
  bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) }
}
