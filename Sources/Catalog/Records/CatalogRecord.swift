import APITypes
import Foundation
import PostgresClient

/// A row of one table. Its coding keys are the table's columns.
///
/// Rows travel as JSON in both directions (`to_jsonb`, `jsonb_populate_record`), so that a record
/// type is the whole mapping: a column added to the table and the type needs no statement changed.
public protocol CatalogRecord: Codable, Sendable {
  static var table: String { get }
  /// The columns of the primary key.
  static var key: [String] { get }
  /// All columns that the record writes.
  static var columns: [String] { get }
}

enum RecordCoding {
  /// The record as JSON text for `jsonb_populate_record`.
  static func json(_ record: some Encodable) throws -> String {
    String(decoding: try APICoding.encode(record), as: UTF8.self)
  }

  static func record<Record: CatalogRecord>(_ row: PostgresRow) throws -> Record {
    guard let bytes = row.bytes(0) else {
      throw CatalogError(.missing, "read row of '\(Record.table)': NULL")
    }
    do {
      return try APICoding.decode(Record.self, from: Data(bytes))
    } catch {
      throw CatalogError(.undecodable, "read row of '\(Record.table)': \(error)")
    }
  }
}

/// Bytes that JSON carries as `bytea`'s hex form, `\xDEADBEEF`.
public struct SealedBytes: Codable, Hashable, Sendable {
  public var bytes: [UInt8]

  public init(_ bytes: [UInt8]) { self.bytes = bytes }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let bytes = [UInt8].decode(text: try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "is not bytea")
    }
    self.bytes = bytes
  }

  public func encode(to encoder: any Encoder) throws {
    let digits = Array("0123456789abcdef")
    var text = "\\x"
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}
