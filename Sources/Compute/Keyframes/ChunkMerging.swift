import History
import Logging

/// Merges WAL chunks as they age, so that finding a block's records looks into few of them.
///
/// Capture stores a chunk every 300 ms; an hour would be 12,000. Merged ones hold 8 to 16 MiB of WAL, later
/// hundreds of a busy line.
struct ChunkMerging: Sendable {
  let writer: LineWriter
  let log: Logger
  var interval: Duration = .seconds(3)
  /// A merge is due when it replaces as many.
  var batch = 24
  /// Whoever has listed younger chunks is likely to be reading them.
  var age: Duration = .seconds(2)

  /// Runs until its task is cancelled.
  func run() async {
    var pause = interval
    while !Task.isCancelled {
      do {
        try await Task.sleep(for: pause)
        if await writer.isMergeDue(olderThan: age, count: batch) {
          try await writer.mergeChunks(olderThan: age)
        }
        pause = interval
      } catch is CancellationError {
        return
      } catch {
        // Nothing is lost: the chunks stay as they are, and the next attempt takes them again.
        log.warning("merging WAL chunks failed", metadata: ["error": "\(error)"])
        pause = min(pause * 2, .seconds(120))
      }
    }
  }
}
