import Foundation
import Volume

/// Seals and forgets epochs on request, one at a time, as an agent without a history would.
final class SealingThread: @unchecked Sendable {
  private let condition = NSCondition()
  private let ended = DispatchSemaphore(value: 0)
  // Guarded by `condition`.
  private var isWanted = false
  private var isFinishing = false

  init(volume: Volume) {
    Thread.detachNewThread { [self] in
      while waitForRequest() {
        do {
          try volume.forget(epoch: volume.seal().number)
        } catch {
          FileHandle.standardError.write(Data("seal volume: \(error)\n".utf8))
        }
      }
      ended.signal()
    }
  }

  func request() {
    condition.withLock {
      isWanted = true
      condition.signal()
    }
  }

  /// Returns when no seal is under way or wanted.
  func finish() {
    condition.withLock {
      isFinishing = true
      condition.signal()
    }
    ended.wait()
  }

  private func waitForRequest() -> Bool {
    condition.withLock {
      while !isWanted, !isFinishing { condition.wait() }
      defer { isWanted = false }
      return isWanted
    }
  }
}
