import Glibc
import PostgresFormat

/// What a pool of redo workers runs, where, and within which limits.
package struct RedoPoolConfiguration: Sendable {
  package var major: PostgresMajor
  /// The unmodified server's program.
  package var server: String
  /// `exzo_page_redo.so` for the same major version; see ``findLibrary(major:environment:)``.
  package var library: String
  /// Where workers keep their few small files; best on tmpfs. Each pool makes a directory of its own
  /// below it.
  package var scratch: String
  /// The user that workers run as, when we are root: PostgreSQL refuses root. Ignored otherwise.
  package var identity: (uid: UInt32, gid: UInt32)?
  /// At most so many processes at once.
  package var workers: Int
  /// Seconds that a worker may take for one exchange (up to ``exchangeBytes`` of pages and records)
  /// before it is ended.
  package var timeLimit: UInt32
  /// Bytes of memory shared with each worker, 16 KiB or more; longer requests are cut into several
  /// exchanges, at records: the default takes any that ``RedoBatch`` does.
  package var exchangeBytes: Int
  /// Start the first worker at once, not with the first request.
  package var startsEarly: Bool

  package static let defaultExchangeBytes = 8 << 20

  /// `EXZO_REDO_DIRECTORY`, or `/dev/shm`.
  package static func scratchDirectory(environment: [String: String]) -> String {
    environment["EXZO_REDO_DIRECTORY"] ?? "/dev/shm"
  }

  package init(
    major: PostgresMajor, server: String? = nil, library: String, scratch: String = "/dev/shm",
    identity: (uid: UInt32, gid: UInt32)? = nil, workers: Int = 2, timeLimit: UInt32 = 10,
    exchangeBytes: Int = RedoPoolConfiguration.defaultExchangeBytes, startsEarly: Bool = false
  ) {
    self.major = major
    self.server = server ?? "/usr/lib/postgresql/\(major.rawValue)/bin/postgres"
    self.library = library
    self.scratch = scratch
    self.identity = identity
    self.workers = max(1, workers)
    self.timeLimit = max(1, timeLimit)
    self.exchangeBytes = max(exchangeBytes, 16 << 10)
    self.startsEarly = startsEarly
  }

  /// The directory that holds `<major>/exzo_page_redo.so`: `EXZO_EXTENSION_DIR`, or `extensions`
  /// beside the program's build directory, or `/usr/lib/exzo`.
  ///
  /// - Throws: ``PageRedoError`` `.notInstalled`.
  package static func findLibrary(
    major: PostgresMajor, environment: [String: String]
  ) throws(PageRedoError) -> String {
    var directories: [String] = []
    if let named = environment["EXZO_EXTENSION_DIR"] { directories.append(named) }
    if let program = programDirectory() {
      directories += ["\(program)/../extensions", "\(program)/../../extensions"]
    }
    directories.append("/usr/lib/exzo")
    for directory in directories {
      let path = "\(directory)/\(major.rawValue)/exzo_page_redo.so"
      if access(path, R_OK) == 0 { return path }
    }
    throw PageRedoError(
      .notInstalled,
      "find the redo extension for PostgreSQL \(major.rawValue): none in "
        + directories.joined(separator: ", "),
      hint: "run scripts/build_extension with postgresql-server-dev-\(major.rawValue) installed, "
        + "or set EXZO_EXTENSION_DIR")
  }

  /// Where this program's file lies, links followed.
  private static func programDirectory() -> String? {
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &path, path.count - 1)
    guard length > 0 else { return nil }
    let text = String(decoding: path[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.lastIndex(of: "/").map { String(text[..<$0]) }
  }
}
