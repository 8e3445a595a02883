import Foundation

/// What `exzo set-context` saves: defaults for options not given.
public struct SavedContext: Codable, Sendable, Equatable {
  public var projectID: String?
  /// Name or id.
  public var branch: String?

  public init(projectID: String? = nil, branch: String? = nil) {
    self.projectID = projectID
    self.branch = branch
  }

  enum CodingKeys: String, CodingKey {
    case projectID = "project_id"
    case branch
  }

  /// Looked up from `directory` to the root, as git does.
  public static let fileName = ".exzo"

  /// The nearest `.exzo` file, else `~/.config/exzo/context.json`; nil when there is none.
  public static func path(from directory: String, home: String?) -> String? {
    var folder = URL(fileURLWithPath: directory).standardizedFileURL
    while true {
      let candidate = folder.appendingPathComponent(fileName).path
      if isFile(candidate) { return candidate }
      guard folder.path != "/" else { break }
      folder.deleteLastPathComponent()
    }
    return home.map { userPath(home: $0) }.flatMap { isFile($0) ? $0 : nil }
  }

  public static func userPath(home: String) -> String { "\(home)/.config/exzo/context.json" }

  private static func isFile(_ path: String) -> Bool {
    var isDirectory: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
      && !isDirectory.boolValue
  }

  /// The context in force; empty when none was saved.
  public static func load(from directory: String, home: String?) throws -> SavedContext {
    guard let path = path(from: directory, home: home) else { return SavedContext() }
    return try read(path)
  }

  /// The context that one file holds; empty where it is not there.
  public static func read(_ path: String) throws -> SavedContext {
    guard isFile(path) else { return SavedContext() }
    do {
      let data = try Data(contentsOf: URL(fileURLWithPath: path))
      return try JSONDecoder().decode(SavedContext.self, from: data)
    } catch {
      throw CommandError(
        "read context '\(path)': \(error)", hint: "Run 'exzo set-context --project-id ID'.")
    }
  }

  /// Replaces the file at `path`, making its directory when missing.
  public func save(to path: String) throws {
    try FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    try encoder.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
  }
}
