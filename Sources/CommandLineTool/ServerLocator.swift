import APIClient
import Foundation

/// Where the server is and the key to it.
public struct ServerLocation: Sendable, Equatable {
  /// `http://127.0.0.1:8432`.
  public var host: String
  public var key: String?
  /// Whom to trust over TLS beside the machine's own authorities.
  public var trust: ServerTrust?

  public init(host: String, key: String?, trust: ServerTrust? = nil) {
    self.host = host
    self.key = key
    self.trust = trust
  }

  /// Requests to it.
  /// - Parameter timeoutSeconds: the longest that one may take.
  public func transport(timeoutSeconds: Int64 = 90) throws -> HTTPTransport {
    try HTTPTransport(timeoutSeconds: timeoutSeconds, trust: trust)
  }
}

/// Finds a server and its key: environment, then its data directory, then the servers that run on this
/// machine, then the default address.
public struct ServerLocator {
  public static let defaultHost = "http://127.0.0.1:8432"

  private let environment: [String: String]
  private let directories: [String]

  /// - Parameter directories: where pointers lie; by default those of the user and of the machine.
  public init(environment: [String: String], directories: [String]? = nil) {
    self.environment = environment
    self.directories = directories ?? ServerPointer.directories(home: environment["HOME"])
  }

  /// - Throws: ``CommandError`` when a pointer or key file is there and cannot be read, or several
  ///   servers run and nothing says which one is meant.
  public func locate() throws -> ServerLocation {
    let directory = set("EXZO_DATA_DIR")
    let named = set("EXZO_API_HOST").map { $0.contains("://") ? $0 : "http://\($0)" }
    let pointer = try directory.map { try ServerPointer.read(dataDirectory: $0) } ?? local(named)
    let host = named ?? pointer?.url ?? Self.defaultHost
    // What is known of a server on this machine holds for that server only.
    let own = pointer?.url == host ? pointer : nil
    return ServerLocation(host: host, key: try key(directory, own), trust: trust(own))
  }

  /// A variable that is set to something.
  private func set(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  private func key(_ directory: String?, _ pointer: ServerPointer?) throws -> String? {
    if let key = set("EXZO_API_KEY") { return key }
    if let directory { return try key(at: "\(directory)/api-key") }
    return try pointer.flatMap { try key(at: $0.apiKeyFile) }
  }

  private func trust(_ pointer: ServerPointer?) -> ServerTrust? {
    if let file = set("EXZO_API_CA") { return ServerTrust(certificateFile: file) }
    // Its certificate is for the name by which others reach it, not for the address on this machine.
    return pointer?.certificateFile.map { ServerTrust(certificateFile: $0, checksName: false) }
  }

  /// The server on this machine, of several that run the one at `host`.
  private func local(_ host: String?) throws -> ServerPointer? {
    let all = try ServerPointer.list(directories)
    if let host { return all.first { $0.url == host } }
    let running = all.filter(\.isAlive)
    guard running.count > 1 else { return running.first ?? all.first }
    let choices = running.map { "\($0.url) (\($0.dataDirectory))" }.joined(separator: ", ")
    throw CommandError(
      "several servers run on this machine: \(choices)",
      hint: "Set EXZO_DATA_DIR to the data directory of the one that is meant.")
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
