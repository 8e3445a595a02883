import DurableIO
import Foundation
import Synchronization

/// Which user each project's servers run as.
///
/// As root, a numeric user of its own a project, from ``firstUID`` on, kept in `<data
/// dir>/identities.json`; such
/// users need no entry anywhere. Otherwise everything runs as the user that runs serve.
public final class IdentityRegistry: Sendable {
  static let firstUID: UInt32 = 2_000_000
  private let path: String
  private let known: Mutex<[String: UInt32]>

  public init(dataDirectory: String) throws {
    path = "\(dataDirectory)/identities.json"
    var table: [String: UInt32] = [:]
    if let bytes = FileManager.default.contents(atPath: path) {
      table = try JSONDecoder().decode([String: UInt32].self, from: bytes)
    }
    known = Mutex(table)
  }

  /// The project's user, chosen and kept on first use. Blocks for one small file.
  public func identity(project: String) throws -> ProcessIdentity {
    guard getuid() == 0 else { return .current }
    return try known.withLock { table in
      if let uid = table[project] { return ProcessIdentity(uid: uid, gid: uid) }
      let uid = (table.values.max() ?? Self.firstUID - 1) + 1
      table[project] = uid
      try SystemFileSystem().replaceFile(
        path, with: [UInt8](JSONEncoder().encode(table)), operation: "write identities")
      return ProcessIdentity(uid: uid, gid: uid)
    }
  }
}
