import Foundation
import Glibc

/// Lets a compute that is being started go before those that run: somebody waits for it.
///
/// On a machine whose processors are busy a start would get its share among all running sessions. Started threads and
/// processes inherit the priority; once the compute is up they have the usual one. Only root may raise it: for
/// others nothing changes.
enum OpeningPriority {
  /// As `nice` counts; about nine times the usual share.
  private static let raised: Int32 = -10

  /// From here on, this process's threads and what they start.
  static func raise() {
    for thread in threads(of: getpid()) { set(raised, thread) }
  }

  /// Threads and descendants of this process that still have the raised priority.
  ///
  /// A process that is forked meanwhile has its parent's: parents come first, and all are looked through twice.
  static func lower() {
    for _ in 0..<2 {
      for process in descendants(of: getpid()) {
        for thread in threads(of: process) where priority(thread) == raised { set(0, thread) }
      }
    }
  }

  private static func set(_ value: Int32, _ thread: pid_t) {
    // Refused to all but root; a thread may have ended.
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(thread), value)
  }

  private static func priority(_ thread: pid_t) -> Int32 {
    getpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(thread))
  }

  private static func threads(of process: pid_t) -> [pid_t] {
    // A process may have ended.
    let names =
      (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")) ?? []
    return names.compactMap { pid_t($0) }
  }

  /// The process itself first, each before its children.
  private static func descendants(of process: pid_t) -> [pid_t] {
    var found = [process]
    var next = 0
    while next < found.count {
      for thread in threads(of: found[next]) {
        let path = "/proc/\(found[next])/task/\(thread)/children"
        // As above.
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        found += text.split(separator: " ").compactMap { pid_t($0) }
      }
      next += 1
    }
    return found
  }
}
