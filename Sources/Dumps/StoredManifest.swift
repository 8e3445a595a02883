import APITypes
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
  static let currentVersion = 1

  var version = currentVersion
  var format: API.DumpFormat
  var source: DumpSource
  var createdAt: Date
  var packs: [Pack]
  var files: [File]

  static func prefix(_ dump: String) -> String { "dumps/\(dump)/" }
  static func key(_ dump: String) -> ObjectKey { ObjectKey(prefix(dump) + "manifest") }
  static func key(_ dump: String, pack: Int) -> ObjectKey { ObjectKey(prefix(dump) + "p\(pack)") }
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
