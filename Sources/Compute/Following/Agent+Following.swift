import Capture
import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresClient
import PostgresFormat

extension Agent {
  /// Follows a server that lives elsewhere: its WAL streams into the line, its data directory is copied once.
  ///
  /// On return WAL is taken as it comes; the copy goes on in the background where it is not made yet. No server
  /// of ours runs, and nothing is mounted.
  func startFollowing(_ source: SourceSpecification) async throws {
    try await blocking { [directory, specification] in
      try layOut(directory, specification: specification)
    }
    let environment = try historyEnvironment()
    let password = ProcessInfo.processInfo.environment[SourceSpecification.passwordVariable]
    var connection = source.connection(password: password)
    connection.rootCertificates = try await blocking { [directory] in
      try SourceAuthorities(source.rootCertificate, at: "\(directory.path)/source-authorities.pem")
        .path
    }
    let writer = try await followedLine(source, connection, environment)
    let capture = try await openCapture(of: source, connection, writer, environment)
    try await blocking { [directory] in try DrainedMarker(directory, following: true).clear() }
    self.capture = capture
    capture.start()
    watchFollowing(capture)
    let merging = ChunkMerging(writer: writer, log: log)
    background = [Task { await merging.run() }]
    let copy = SourceCopy(
      source: source, connection: connection, directory: directory, log: log)
    let hasKeyframe = await writer.newestKeyframe != nil
    let standby = FollowedStandby(
      specification: specification, directory: directory, writer: writer, capture: capture,
      environment: environment, log: log,
      onEnd: { [weak self] in await self?.endFollowing(at: $0) })
    following = Following(
      source: source, connection: connection, copy: copy, standby: standby,
      timeline: writer.description.timeline, phase: hasKeyframe ? .following : .copying)
    if hasKeyframe {
      following?.tending = Task { await standby.run() }
    } else {
      copyInBackground(copy, writer, capture)
    }
  }

  /// The line, created where it is not there. Its WAL begins in the segment that the slot keeps.
  private func followedLine(
    _ source: SourceSpecification, _ connection: ConnectionParameters,
    _ environment: HistoryEnvironment
  ) async throws -> LineWriter {
    let id = LineID(rawValue: specification.line)
    do {
      return try await LineWriter.resume(id, environment: environment)
    } catch let error as HistoryError where error.code == .unknownLine {
      let start = try await blocking { try SourceSlot(source, connection).make() }
      let size = source.facts.segmentSize
      return try await LineWriter.create(
        LineDescription(
          id: id, project: specification.projectID,
          startLSN: LSN(start.lsn.rawValue / size * size), timeline: start.timeline,
          systemIdentifier: source.facts.systemIdentifier, major: source.facts.major,
          serverVersion: source.facts.serverVersion, segmentSize: UInt32(size),
          createdAt: environment.now(), bootstrapRole: source.facts.bootstrapRole),
        environment: environment)
    }
  }

  private func openCapture(
    of source: SourceSpecification, _ connection: ConnectionParameters, _ writer: LineWriter,
    _ environment: HistoryEnvironment
  ) async throws -> WALCapture {
    var configuration = CaptureConfiguration(
      connection: connection, line: writer, store: environment.store,
      spoolDirectory: directory.spool, major: try postgresMajor(specification.major),
      durability: .following)
    configuration.slotName = source.slot
    let timeline = SourceTimeline(expected: writer.description.timeline)
    configuration.pin = { try source.pinned($0) }
    configuration.accept = { try timeline.check($0) }
    return try await WALCapture.open(configuration)
  }

  private func copyInBackground(
    _ copy: SourceCopy, _ writer: LineWriter, _ capture: WALCapture
  ) {
    let major = specification.major
    background.append(
      Task {
        do {
          let format = try postgresMajor(major)
          let received = try await withThread(named: "source-copy") {
            try copy.receive(major: format)
          }
          following?.phase = .storing
          try await waitForWAL(capture, received.end.lsn)
          let keyframe = try await copy.store(received, in: writer)
          following?.phase = .following
          if let standby = following?.standby, status.phase != .stopping {
            following?.tending = Task { await standby.run() }
          }
          log.info(
            "following",
            metadata: ["redo": "\(keyframe.redoLSN)", "consistent": "\(keyframe.consistentLSN)"])
        } catch is CancellationError {
          return
        } catch {
          log.error("copying the source failed", metadata: ["error": "\(error)"])
          following?.phase = .failed
          following?.failure = "\(error)"
        }
      })
  }

  /// A busy source may be far ahead when its copy has come.
  private func waitForWAL(_ capture: WALCapture, _ lsn: LSN) async throws {
    while true {
      do {
        _ = try await capture.flush(to: lsn, timeout: .seconds(60))
        return
      } catch let error as CaptureError where error.code == .timeout {
        log.info("waiting for the source's WAL", metadata: ["until": "\(lsn)"])
      }
    }
  }

  /// An LSN at or above every commit that the source acknowledged before, once it is stored. Where the source
  /// does not answer, or is not followed any more, the end of what came of it: there is nothing else any more.
  func followedHead(_ following: Following) async throws -> LSN {
    guard let capture else { throw ComputeError(.agent, "ask for the head: nothing is captured") }
    guard following.phase != .failed else {
      return min(following.end?.lsn ?? LSN(.max), capture.positions.uploadedLSN)
    }
    var parameters = following.connection
    parameters.connectTimeout = 5
    let (source, connection) = (following.source, parameters)
    let timeline = following.timeline
    let wanted: LSN
    do {
      wanted = try await withThread(named: "source-head") {
        let session = try ReplicationConnection(try source.pinned(connection))
        defer { session.close() }
        let system = try session.identifySystem()
        guard system.timeline == timeline else {
          throw PostgresError(.connectionLost, "it is on timeline \(system.timeline.rawValue) now")
        }
        return system.flushedLSN
      }
    } catch let error as PostgresError {
      log.notice("the source does not answer: the head is what came", metadata: ["e": "\(error)"])
      return try await capture.flush(to: capture.positions.receivedLSN, timeout: .seconds(30))
    }
    return try await capture.flush(
      to: wanted.withoutLeadingHeader(segmentSize: source.facts.segmentSize),
      timeout: .seconds(30))
  }

  func sourceStatus(_ following: Following) -> SourceStatus {
    let bytes = following.copy.bytes
    let positions = capture?.positions
    let held = following.end?.precedingTime ?? positions?.heldUntil ?? following.heldUntil
    return SourceStatus(
      phase: following.phase, copiedBytes: bytes.copied, totalBytes: bytes.total,
      failure: following.failure, isStreaming: positions?.isStreaming ?? false,
      sourceLSN: positions?.serverLSN ?? .invalid, trouble: following.trouble,
      awaySeconds: following.awaySince.map { (ContinuousClock.now - $0).seconds },
      heldUntil: held.map { Date(timeIntervalSince1970: Double($0.unixMicroseconds) / 1_000_000) })
  }
}

/// What an agent that follows knows.
struct Following: Sendable {
  var source: SourceSpecification
  /// The address not looked up yet.
  var connection: ConnectionParameters
  var copy: SourceCopy
  /// Makes the line's keyframes after the first.
  var standby: FollowedStandby
  var tending: Task<Void, Never>?
  /// The one that the line holds.
  var timeline: TimelineID
  var phase: SourceStatus.Phase
  var failure: String?
  /// What of its WAL cannot be opened here begins there.
  var end: FollowedEnd?
  /// What stands in the way while it goes on trying.
  var trouble: String?
  /// When the stream ended; `nil` while it runs.
  var awaySince: ContinuousClock.Instant? = .now
  /// Until when all was held as the stream ended for good.
  var heldUntil: PostgresTimestamp?
  /// One at a time brings what a stream left into the store.
  let drain = AsyncGate()
  /// Goes on with that after a following has ended.
  var storing: Task<Void, Never>?
}

/// The slot that keeps WAL on a source. Blocks its thread.
public struct SourceSlot {
  private let source: SourceSpecification
  private let connection: ConnectionParameters

  /// - Parameter connection: the address not looked up yet.
  public init(_ source: SourceSpecification, _ connection: ConnectionParameters) {
    self.source = source
    self.connection = connection
  }

  /// Makes the slot where it is not there; tells from where on it keeps WAL.
  func make() throws -> BackupPosition {
    let session = try ReplicationConnection(try source.pinned(connection))
    defer { session.close() }
    do { try session.createPhysicalSlot(source.slot) } catch let error as PostgresError
      where error.sqlState == "42710"
    {}  // an agent that died had made it
    guard let slot = try session.readPhysicalSlot(source.slot), let lsn = slot.restartLSN,
      let timeline = slot.restartTimeline
    else {
      throw ComputeError(
        .environment, "make slot '\(source.slot)' on the source: it keeps no WAL",
        hint: "look at max_slot_wal_keep_size there")
    }
    return BackupPosition(lsn: lsn, timeline: timeline)
  }

  /// Drops the slot: the source is as it was. One that is not there is no error.
  public func drop() throws {
    let session = try ReplicationConnection(try source.pinned(connection))
    defer { session.close() }
    do { try session.dropSlot(source.slot) } catch let error as PostgresError
      where error.sqlState == "42704"
    {}
  }
}
