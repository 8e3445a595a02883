import Capture
import DurableIO
import Foundation
import History
import Logging
import PostgresClient
import PostgresFormat
import Synchronization
import Volume

/// Copies a source's data directory into its line: the first keyframe.
///
/// Crash: a copy that was not finished is made anew; the slot and the line's WAL go on meanwhile.
final class SourceCopy: Sendable {
  private let source: SourceSpecification
  private let connection: ConnectionParameters
  private let directory: LineDirectory
  private let log: Logger
  private let progress = Mutex((copied: 0, total: 0))

  init(
    source: SourceSpecification, connection: ConnectionParameters, directory: LineDirectory,
    log: Logger
  ) {
    self.source = source
    self.connection = connection
    self.directory = directory
    self.log = log
  }

  private var path: String { "\(directory.scratch)/backup" }

  /// Bytes that have come, and about how many will.
  var bytes: (copied: Int, total: Int) { progress.withLock { $0 } }

  /// What came, and where it is consistent.
  struct Received: Sendable {
    var image: BackupImage
    var control: ControlFile
    var end: BackupPosition
  }

  /// Blocks its thread until all has come.
  func receive(major: PostgresMajor) throws -> Received {
    try clear()
    let files = SystemFileSystem()
    try files.makeDirectory(path, operation: "receive the source's backup")
    var pinned = try source.pinned(connection)
    pinned.applicationName = "\(source.slot)_copy"
    let session = try ReplicationConnection(pinned)
    defer { session.close() }
    try check(session)
    var receiver = BackupReceiver(directory: path, fileSystem: files)
    let end = try session.baseBackup(label: source.slot) { event in
      switch event {
      case .begins(let start, let kilobytes):
        progress.withLock { $0 = (0, kilobytes << 10) }
        log.info("copying the source", metadata: ["redo": "\(start.lsn)", "kB": "\(kilobytes)"])
      case .bytes(let bytes):
        try receiver.receive(bytes)
        progress.withLock { $0.copied = receiver.receivedBytes }
      }
    }
    let (image, control) = try receiver.finish(settings: source.facts.settings, major: major)
    log.info(
      "source copied",
      metadata: [
        "bytes": "\(receiver.receivedBytes)", "files": "\(image.files.count)",
        "left_out": "\(receiver.leftOut)", "end": "\(end.lsn)",
      ])
    guard control.systemIdentifier == source.facts.systemIdentifier,
      control.walSegmentSize == source.facts.segmentSize
    else { throw ComputeError(.environment, "copy the source: its pg_control is another server's") }
    return Received(image: image, control: control, end: end)
  }

  private func check(_ session: ReplicationConnection) throws {
    let system = try session.identifySystem()
    guard system.systemIdentifier == source.facts.systemIdentifier else {
      throw ComputeError(
        .environment,
        "copy the source: its system identifier is \(system.systemIdentifier), when it was attached it "
          + "was \(source.facts.systemIdentifier)", hint: "detach, and attach it anew")
    }
  }

  /// Makes the keyframe. The WAL up to the backup's end must be in the store already.
  func store(_ received: Received, in writer: LineWriter) async throws -> Keyframe {
    let control = received.control
    let limit = received.end.lsn
    let keyframe = try await writer.appendKeyframe(
      from: [received.image],
      KeyframeParameters(
        timeline: control.checkpoint.timeline, checkpointLSN: control.checkpointLSN,
        redoLSN: control.checkpoint.redo, consistentLSN: limit,
        systemIdentifier: control.systemIdentifier, postgresVersion: source.facts.serverVersion),
      // A page may be torn: the WAL since the redo LSN holds a whole image of it. Checksums were verified by the
      // server as it sent them.
      check: pageCheck(hasChecksums: false, limit: limit))
    try await blocking { try self.clear() }
    return keyframe
  }

  private func clear() throws {
    guard FileManager.default.fileExists(atPath: path) else { return }
    try FileManager.default.removeItem(atPath: path)
  }
}
