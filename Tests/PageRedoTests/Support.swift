import Foundation
import PostgresFormat
import TestSupport

@testable import PageRedo

/// A pool over the installed server, with the extension that `scripts/build_extension` made.
func makePool(
  workers: Int = 2, timeLimit: UInt32 = 30, scratch: String? = nil,
  exchangeBytes: Int = RedoPoolConfiguration.defaultExchangeBytes
) throws -> RedoPool {
  var environment = ProcessInfo.processInfo.environment
  environment[
    "EXZO_EXTENSION_DIR",
    default: FileManager.default.currentDirectoryPath
      + "/.build/extensions"] += ""
  return try RedoPool(
    RedoPoolConfiguration(
      major: .v15, server: StockServer.binaries(major: 15) + "/postgres",
      library: RedoPoolConfiguration.findLibrary(major: .v15, environment: environment),
      scratch: scratch ?? "/dev/shm", identity: postgresUser(), workers: workers,
      timeLimit: timeLimit, exchangeBytes: exchangeBytes))
}

/// The user that servers run as when the tests run as root.
private func postgresUser() -> (uid: UInt32, gid: UInt32)? {
  guard getuid() == 0, let entry = getpwnam("postgres") else { return nil }
  return (entry.pointee.pw_uid, entry.pointee.pw_gid)
}

func withPool<Result>(
  workers: Int = 2, timeLimit: UInt32 = 30,
  exchangeBytes: Int = RedoPoolConfiguration.defaultExchangeBytes,
  _ body: (RedoPool) throws -> Result
) throws -> Result {
  let pool = try makePool(workers: workers, timeLimit: timeLimit, exchangeBytes: exchangeBytes)
  defer { pool.stop() }
  return try body(pool)
}

func readFile(_ path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}

/// Pages of a data directory of a stopped server.
final class PageFiles {
  let directory: String
  private var descriptors: [String: Int32] = [:]

  init(_ directory: String) { self.directory = directory }

  deinit { for descriptor in descriptors.values where descriptor >= 0 { close(descriptor) } }

  /// A page; nil where the file or the page is not there.
  func page(_ target: PageTarget) -> [UInt8]? {
    let file = RelationFile(holding: target.block, of: target.locator, fork: target.fork)
    let path =
      "\(directory)/"
      + file.path(versionDirectory: PostgresMajor.v15.format.tablespaceDirectory)
    let descriptor = descriptors[path] ?? open(path, O_RDONLY | O_CLOEXEC)
    descriptors[path] = descriptor
    guard descriptor >= 0 else { return nil }
    var page = [UInt8](repeating: 0, count: PostgresLayout.blockSize)
    let offset = Int(target.block % PostgresLayout.blocksPerSegment) * PostgresLayout.blockSize
    return pread(descriptor, &page, page.count, off_t(offset)) == page.count ? page : nil
  }
}
