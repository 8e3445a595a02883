import Foundation
import Glibc
import Synchronization

/// Lets a compute that is being started go before those that run: somebody waits for it.
///
/// On a machine whose processors are busy a start would get its share among all running sessions. Started threads and
/// processes inherit the priority; once the compute is up they have the usual one. Where the kernel schedules
/// sessions as groups (sched(7), autogroups), a priority counts within its session only, each process of PostgreSQL's
/// begins one (`InitPostmasterChild`), and none is inherited: those are raised as they come. Only root may raise
/// a priority: for others nothing changes.
final class OpeningPriority: Sendable {
  /// As `nice` counts; about nine times the usual share.
  private static let raised: Int32 = -10
  private static let pause: UInt32 = 10_000  // µs
  /// Held for each round of the watch: none begins after ``lower()``.
  private let isOver = Mutex(false)

  /// From here on, this process's threads and what they start.
  init() {
    for thread in Self.threads(of: getpid()) { Self.set(Self.raised, thread) }
    guard Self.setSession(Self.raised, getpid()) else { return }
    let watch = Thread { [self] in
      var seen: Set<pid_t> = []
      while raiseSessions(&seen) { usleep(Self.pause) }
    }
    watch.name = "opening"
    watch.start()
  }

  /// Threads and descendants of this process that still have the raised priority.
  ///
  /// A process that is forked meanwhile has its parent's: parents come first, and all are looked through twice.
  func lower() {
    isOver.withLock { $0 = true }
    for _ in 0..<2 {
      for process in Self.descendants(of: getpid()) {
        _ = Self.setSession(0, process)
        for thread in Self.threads(of: process) where Self.priority(thread) == Self.raised {
          Self.set(0, thread)
        }
      }
    }
  }

  /// False when it is over.
  private func raiseSessions(_ seen: inout Set<pid_t>) -> Bool {
    isOver.withLock { isOver in
      guard !isOver else { return false }
      for process in Self.descendants(of: getpid()) where seen.insert(getsid(process)).inserted {
        _ = Self.setSession(Self.raised, process)
      }
      return true
    }
  }

  /// Of the session that a process is in; false where there are no groups of sessions, or where it is refused.
  private static func setSession(_ value: Int32, _ process: pid_t) -> Bool {
    // A process may have ended.
    (try? writeControl("/proc/\(process)/autogroup", "\(value)")) != nil
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
        found += (readControl(path) ?? "").split(separator: " ").compactMap { pid_t($0) }
      }
      next += 1
    }
    return found
  }
}
