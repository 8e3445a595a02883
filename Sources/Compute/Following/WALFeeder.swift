import Capture
import DurableIO
import Foundation
import History
import PostgresFormat
import Synchronization

/// Puts a line's stored WAL into the `pg_wal` of a standby, in the order in which it comes.
///
/// State: everything below ``fedLSN`` is there, and nothing beyond; segments have their full size at once, with
/// zeros where nothing has come. Not durable: the standby begins anew after a crash.
final class WALFeeder: Sendable {
  private let directory: LineDirectory
  private let identity: ProcessIdentity
  private let history: LineHistory
  /// Where the standby begins to replay; what is fed before it only fills its segment.
  private let start: LSN
  private let segmentSize: UInt64
  private let timeline: TimelineID
  private let fileSystem = SystemFileSystem()
  private let fed: Mutex<LSN>

  /// - Parameter start: the redo LSN of what the standby starts from.
  init(
    directory: LineDirectory, identity: ProcessIdentity, history: LineHistory, start: LSN,
    segmentSize: UInt64, timeline: TimelineID
  ) {
    self.directory = directory
    self.identity = identity
    self.history = history
    self.start = start
    self.segmentSize = segmentSize
    self.timeline = timeline
    fed = Mutex(LSN(start.rawValue / segmentSize * segmentSize))
  }

  var fedLSN: LSN { fed.withLock { $0 } }

  /// Brings what is stored by now.
  /// - Throws: ``SourceEnd`` where it holds what cannot be followed; then nothing of it was brought.
  func feed() async throws {
    try await history.refresh()
    let end = await history.uploadedLSN
    let fed = fedLSN
    guard fed < end else { return }
    if let found = try await history.followedEnd(from: max(fed, start), to: end) {
      throw SourceEnd(end: found)
    }
    for try await run in history.readWAL(from: fed, to: end) {
      try await blocking { try self.write(run.bytes, at: run.startLSN) }
      self.fed.withLock { $0 = run.startLSN + UInt64(run.bytes.count) }
    }
  }

  private func write(_ bytes: [UInt8], at lsn: LSN) throws {
    var done = 0
    while done < bytes.count {
      let next = lsn + UInt64(done)
      let offset = next.rawValue % segmentSize
      let count = min(bytes.count - done, Int(segmentSize - offset))
      let name = WALSegment(timeline: timeline, containing: next, size: segmentSize).fileName
      let path = "\(directory.wal)/\(name)"
      let file = try fileSystem.open(path, .createReadWrite, operation: "feed a standby")
      defer { file.close() }
      if try file.size(operation: "feed a standby") < segmentSize {
        try file.truncate(to: segmentSize, operation: "feed a standby")
        guard chown(path, identity.uid, identity.gid) == 0 else {
          throw FileError(operation: "feed a standby", path: path, code: errno)
        }
      }
      try bytes[done..<done + count].withUnsafeBytes {
        try file.write($0, at: offset, operation: "feed a standby")
      }
      done += count
    }
  }
}
