import Foundation
import Synchronization
import TestSupport

/// Processes of a parent that work for page redo.
func redoWorkers(of parent: Int32) -> [Int32] {
  // Processes come and go while the list is read.
  let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
  return names.compactMap { Int32($0) }.filter { process in
    guard
      let status = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8),
      let command = try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8)
    else { return false }
    return status.contains("PPid:\t\(parent)\n") && command.contains("--single")
  }
}

/// Kills redo workers of this process at random moments, until it is stopped.
final class WorkerKiller: Sendable {
  private let isStopped = Atomic<Bool>(false)
  private let done = DispatchSemaphore(value: 0)
  private let kills = Atomic<Int>(0)

  init() {
    Thread.detachNewThread { [self] in
      var random = SystemRandomNumberGenerator()
      while !isStopped.load(ordering: .acquiring) {
        if let worker = redoWorkers(of: getpid()).randomElement(using: &random),
          kill(worker, SIGKILL) == 0
        {
          kills.add(1, ordering: .relaxed)
        }
        usleep(useconds_t.random(in: 50_000...400_000))
      }
      done.signal()
    }
  }

  /// Returns once no more are killed.
  /// - Returns: how many were; 0 from the second call on.
  func stop() -> Int {
    if isStopped.exchange(true, ordering: .acquiringAndReleasing) { return 0 }
    done.wait()
    return kills.load(ordering: .relaxed)
  }
}
