import Compute
import DurableIO
import Foundation
import Synchronization

/// The server binaries as they are now: a package's update may replace them at any time.
final class InstalledServer: Sendable {
  let installation: PostgresInstallation

  /// What tells one file from the one that took its place.
  private struct Known: Sendable, Equatable {
    var file: UInt64
    var changedAt: Int
    var version: String
  }

  private let known = Mutex<Known?>(nil)

  init(_ installation: PostgresInstallation) { self.installation = installation }

  /// The exact version, such as `15.20`; the program is asked where it is another file than last time. Blocks the
  /// thread.
  func version() throws -> String {
    var status = stat()
    guard stat(installation.server, &status) == 0 else {
      throw ComputeError(
        .serverMissing,
        "look at '\(installation.server)': \(String(cString: strerror(errno)))",
        hint: "install the package postgresql-\(installation.major)")
    }
    let (file, changedAt) = (UInt64(status.st_ino), status.st_ctim.tv_sec)
    if let known = known.withLock({ $0 }), known.file == file, known.changedAt == changedAt {
      return known.version
    }
    let version = try installation.version()
    known.withLock { $0 = Known(file: file, changedAt: changedAt, version: version) }
    return version
  }
}
