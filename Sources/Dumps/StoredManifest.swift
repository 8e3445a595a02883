import APITypes
import CCRC32C
import ControlPlane
import Foundation
import ObjectStorage

/// What a dump's objects hold: the last object of a dump to be written.
///
/// Docs: docs/formats/dump.md.
struct StoredManifest: Codable, Sendable, Equatable {
  /// An object of a dump: bytes of any of its files.
  struct Pack: Codable, Sendable, Equatable {
    var size: Int
    /// CRC32C of each ``StoredManifest/block`` bytes.
    var sums: [UInt32]
  }

  /// A run of a file's bytes within a pack.
  struct Extent: Codable, Sendable, Equatable {
    var pack: Int
    var offset: Int
    var length: Int
  }

  struct File: Codable, Sendable, Equatable {
    var name: String
    var extents: [Extent]
    var size: Int { extents.reduce(0) { $0 + $1.length } }
  }

  /// Bytes of a pack that one checksum covers.
  static let block = 1 << 20
  /// Bytes of a pack but the last.
  static let packSize = 16 << 20
  static let currentVersion = 3

  var version = currentVersion
  /// The dump whose manifest it is; absent in version 1.
  var dump: String?
  /// Which of the attempts to make the dump wrote its packs, and is part of their names: no two of them ever put
  /// different bytes under one name. Absent before version 3.
  var attempt: String?
  var format: API.DumpFormat
  var source: DumpSource
  var createdAt: Date
  var packs: [Pack]
  var files: [File]

  static func prefix(_ dump: String) -> String { "dumps/\(dump)/" }
  static func key(_ dump: String) -> ObjectKey { ObjectKey(prefix(dump) + "manifest") }
  static func key(_ dump: String, pack: Int, attempt: String?) -> ObjectKey {
    ObjectKey(prefix(dump) + "p\(pack)" + (attempt.map { "-\($0)" } ?? ""))
  }

  func key(ofPack pack: Int, _ dump: String) -> ObjectKey {
    StoredManifest.key(dump, pack: pack, attempt: attempt)
  }
}

extension StoredManifest {
  /// The object: the JSON, a line's end, and the JSON's CRC32C in eight hexadecimal digits.
  func encodedObject() throws -> [UInt8] {
    let json = [UInt8](try APICoding.encode(self))
    return json + Array("\n\(Self.digits(json[...]))".utf8)
  }

  /// - Throws: ``DumpError`` where the bytes are not what was written for this dump.
  init(object bytes: [UInt8], of dump: String) throws {
    func damaged(_ what: String) -> DumpError {
      DumpError(
        "open dump '\(dump)': its manifest is \(what)",
        hint: "make another dump; this one cannot be trusted")
    }
    // JSON has no line's end; version 1 has nothing else.
    let json = bytes.prefix { $0 != UInt8(ascii: "\n") }
    let sum = String(decoding: bytes[json.count...].dropFirst(), as: UTF8.self)
    guard json.count == bytes.count || sum == Self.digits(json) else {
      throw damaged("damaged: checksum \(Self.digits(json)), expected \(sum)")
    }
    do {
      self = try APICoding.decode(StoredManifest.self, from: Data(json))
    } catch {
      throw damaged("damaged: \(error)")
    }
    guard version <= StoredManifest.currentVersion else {
      throw DumpError(
        "open dump '\(dump)': version \(version), made by a later version of Exzo; "
          + "this one reads \(StoredManifest.currentVersion)")
    }
    guard version == 1 || json.count < bytes.count else {
      throw damaged("cut off before its checksum")
    }
    guard version == 1 || self.dump == dump else {
      throw damaged("that of dump '\(self.dump ?? "")'")
    }
  }

  private static func digits(_ json: ArraySlice<UInt8>) -> String {
    let sum = json.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) }
    let text = String(sum, radix: 16)
    return String(repeating: "0", count: 8 - text.count) + text
  }
}

/// The database that a dump was made of.
struct DumpSource: Codable, Sendable, Equatable {
  var database: String
  var owner: String
  var encoding: String
  var collate: String
  var characterType: String
  /// ICU's locale, where the database has one.
  var icuLocale: String?
  var serverVersion: Int
  /// Roles of the cluster that are not superusers.
  var roles: [String]
  /// Their statements, without passwords.
  var globals: String
  var tables: Int
  /// Absent in older dumps.
  var properties: DatabaseProperties?
}
