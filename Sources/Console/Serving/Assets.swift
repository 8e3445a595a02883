import Crypto
import Foundation
import Mustache
import Synchronization

/// Templates and static files: in the program, or, for whoever works on them, in a directory.
struct Assets: Sendable {
  struct File: Sendable {
    var bytes: [UInt8]
    var contentType: String
  }

  private let directory: String?
  private let library: MustacheLibrary
  /// Changes with any static file, so that a browser can keep them for good.
  let version: String

  init(directory: String?) throws {
    self.directory = directory
    library = try Self.library(EmbeddedFiles.pages)
    var hash = SHA256()
    for (_, bytes) in EmbeddedFiles.statics.sorted(by: { $0.key < $1.key }) {
      hash.update(data: bytes)
    }
    version = hash.finalize().prefix(6).map { String($0, radix: 16) }.joined()
  }

  private static func library(_ pages: [String: [UInt8]]) throws -> MustacheLibrary {
    var library = MustacheLibrary()
    for (name, bytes) in pages {
      do {
        try library.register(String(decoding: bytes, as: UTF8.self), named: name)
      } catch {
        throw AssetError(message: "read template '\(name)': \(error)")
      }
    }
    return library
  }

  /// - Throws: ``AssetError`` where there is no such template.
  func render(_ name: String, _ values: [String: Any]) throws -> String {
    let library = try directory.map { try Self.library(Self.read("\($0)/Pages", "mustache")) }
    let object = Self.prepared(values)
    guard let text = (library ?? self.library).render(object, withTemplate: name) else {
      throw AssetError(message: "render page: there is no template '\(name)'")
    }
    return text
  }

  /// Mustache takes an empty text for something; here it is nothing, as an absent one, but hides what
  /// the values around it hold under the name.
  private static func prepared(_ value: Any) -> Any {
    switch value {
    case let text as String: return text.isEmpty ? Nothing() as Any : text
    case let members as [String: Any]: return members.mapValues(prepared)
    case let items as [[String: Any]]: return items.map { $0.mapValues(prepared) }
    default: return value
    }
  }

  private struct Nothing: MustacheCustomRenderable {
    var renderText: String { "" }
    var isNull: Bool { true }
  }

  func file(_ name: String) -> File? {
    let types = ["css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"]
    guard let type = name.split(separator: ".").last.flatMap({ types[String($0)] }) else {
      return nil
    }
    let bytes: [UInt8]?
    if let directory {
      guard !name.contains("/"), !name.hasPrefix(".") else { return nil }
      bytes = FileManager.default.contents(atPath: "\(directory)/Static/\(name)").map { Array($0) }
    } else {
      bytes = EmbeddedFiles.statics[name]
    }
    return bytes.map { File(bytes: $0, contentType: "\(type); charset=utf-8") }
  }

  private static func read(_ directory: String, _ ending: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: directory)
    where name.hasSuffix(".\(ending)") {
      let data = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)"))
      files[String(name.dropLast(ending.count + 1))] = Array(data)
    }
    return files
  }
}

struct AssetError: Error, CustomStringConvertible {
  var message: String
  var description: String { message }
}
