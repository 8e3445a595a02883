import Foundation

/// Where the server is and the key to it.
public struct ServerLocation: Sendable, Equatable {
  /// `http://127.0.0.1:8432`.
  public var host: String
  public var key: String?

  public init(host: String, key: String?) {
    self.host = host
    self.key = key
  }
}

/// What `exzo serve` writes so that commands on the same machine find it.
public struct ServerPointer: Codable, Sendable, Equatable {
  public var url: String
  /// The one place where the key is kept readable, `DIR/api-key`.
  public var apiKeyFile: String

  public init(url: String, apiKeyFile: String) {
    self.url = url
    self.apiKeyFile = apiKeyFile
  }

  enum CodingKeys: String, CodingKey {
    case url
    case apiKeyFile = "api_key_file"
  }

  /// Where pointers stand, the first found counts: the user's own, then the machine's.
  public static func paths(home: String?, machine: String = "/run/exzo") -> [String] {
    (home.map { ["\($0)/.config/exzo/server.json"] } ?? []) + ["\(machine)/server.json"]
  }

  /// Replaces the pointer at `path`, making its directory (0700) when missing.
  public func write(to path: String) throws {
    let directory = (path as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try encoder.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
  }
}

/// Finds a server and its key: environment, then pointers, then the default address.
public struct ServerLocator {
  public static let defaultHost = "http://127.0.0.1:8432"

  private let environment: [String: String]
  private let pointerPaths: [String]

  public init(environment: [String: String], pointerPaths: [String]? = nil) {
    self.environment = environment
    self.pointerPaths = pointerPaths ?? ServerPointer.paths(home: environment["HOME"])
  }

  /// - Throws: ``CommandError`` when a pointer or key file is there and cannot be read.
  public func locate() throws -> ServerLocation {
    let pointer = try pointer()
    var host = environment["EXZO_API_HOST"] ?? pointer?.url ?? Self.defaultHost
    if !host.contains("://") { host = "http://\(host)" }
    if let key = environment["EXZO_API_KEY"], !key.isEmpty {
      return ServerLocation(host: host, key: key)
    }
    if let directory = environment["EXZO_DATA_DIR"] {
      return ServerLocation(host: host, key: try key(at: "\(directory)/api-key"))
    }
    // A key found on this machine belongs to this machine's server only.
    guard let pointer, pointer.url == host else { return ServerLocation(host: host, key: nil) }
    return ServerLocation(host: host, key: try key(at: pointer.apiKeyFile))
  }

  private func pointer() throws -> ServerPointer? {
    for path in pointerPaths where FileManager.default.fileExists(atPath: path) {
      do {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        return try JSONDecoder().decode(ServerPointer.self, from: data)
      } catch {
        throw CommandError(
          "read '\(path)': \(error)", hint: "Remove it; 'exzo serve' writes it anew.")
      }
    }
    return nil
  }

  private func key(at path: String) throws -> String? {
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    do {
      return try String(contentsOfFile: path, encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
    } catch {
      throw CommandError(
        "read API key '\(path)': \(error.localizedDescription)",
        hint: "Run as the server's user, or set EXZO_API_KEY.")
    }
  }
}
