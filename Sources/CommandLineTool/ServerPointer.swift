import Foundation

/// What `exzo serve` writes so that commands on the same machine find it: into its data directory, and
/// beside those of other servers into the home of its user, or into `/run/exzo`.
public struct ServerPointer: Codable, Sendable, Equatable {
  public var url: String
  public var dataDirectory: String
  /// The certificate that it answers with; `nil` for plain HTTP.
  public var certificateFile: String?

  public init(url: String, dataDirectory: String, certificateFile: String? = nil) {
    self.url = url
    self.dataDirectory = dataDirectory
    self.certificateFile = certificateFile
  }

  enum CodingKeys: String, CodingKey {
    case url
    case dataDirectory = "data_directory"
    case certificateFile = "certificate_file"
  }

  /// The one place where the key is kept readable.
  public var apiKeyFile: String { "\(dataDirectory)/api-key" }

  /// Where pointers lie: the user's own, then the machine's.
  public static func directories(home: String?, machine: String = "/run/exzo") -> [String] {
    (home.map { ["\($0)/.config/exzo/servers"] } ?? []) + ["\(machine)/servers"]
  }

  /// The pointer in a data directory; `nil` where serve has not run there yet.
  public static func read(dataDirectory: String) throws -> ServerPointer? {
    let path = Self.path(in: dataDirectory)
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    return try read(path)
  }

  static func read(_ path: String) throws -> ServerPointer {
    do {
      let data = try Data(contentsOf: URL(fileURLWithPath: path))
      return try JSONDecoder().decode(ServerPointer.self, from: data)
    } catch {
      throw CommandError(
        "read '\(path)': \(error)", hint: "Remove it; 'exzo serve' writes it anew.")
    }
  }

  private static func path(in dataDirectory: String) -> String { "\(dataDirectory)/server.json" }

  /// All pointers in `directories`, the newest first.
  static func list(_ directories: [String]) throws -> [ServerPointer] {
    try directories.flatMap(files).map { (age(of: $0), try read($0)) }
      .sorted { $0.0 > $1.0 }.map(\.1)
  }

  private static func files(in directory: String) -> [String] {
    // A directory that is not there has no pointers in it.
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.filter { $0.hasSuffix(".json") }.map { "\(directory)/\($0)" }
  }

  private static func age(of path: String) -> Double {
    var status = stat()
    guard stat(path, &status) == 0 else { return 0 }
    return Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9
  }

  /// Replaces the pointers of this server: in its data directory, and in `directory` (0700 when made),
  /// from which those of data directories that are gone are removed.
  public func write(to directory: String) throws {
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(self)
    for path in [Self.path(in: dataDirectory), "\(directory)/\(fileName)"] {
      try data.write(to: URL(fileURLWithPath: path), options: .atomic)
    }
    for path in Self.files(in: directory) {
      // One that cannot be read is told of by the command that meets it.
      guard let other = try? Self.read(path),
        !FileManager.default.fileExists(atPath: other.dataDirectory)
      else { continue }
      try FileManager.default.removeItem(atPath: path)
    }
  }

  /// One file for each data directory: `/srv/exzo` is `srv-exzo.json`, and what its own text would
  /// make ambiguous is told apart by a checksum.
  private var fileName: String {
    let words = dataDirectory.split { !$0.isLetter && !$0.isNumber }.joined(separator: "-")
    let sum = dataDirectory.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    return "\(words.suffix(80))-\(String(sum, radix: 16)).json"
  }

  /// Whether a serve holds the data directory now; where its lock cannot be looked at, that is
  /// assumed.
  var isAlive: Bool {
    let descriptor = open("\(dataDirectory)/serve.lock", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno != ENOENT }
    defer { close(descriptor) }
    return flock(descriptor, LOCK_SH | LOCK_NB) != 0
  }
}
