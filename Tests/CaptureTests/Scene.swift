import Capture
import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresClient
import PostgresFormat
import Synchronization
import TestSupport

/// A store that can be told to fail or to wait, in front of a local one.
final class FaultyStore: WrappingObjectStore {
  let base: LocalObjectStore
  private let fault = Mutex<(isAway: Bool, putsFailed: Int, delay: Duration)>((false, 0, .zero))

  init(_ base: LocalObjectStore) { self.base = base }

  var isAway: Bool {
    get { fault.withLock { $0.isAway } }
    set { fault.withLock { $0.isAway = newValue } }
  }
  var putsFailed: Int { fault.withLock { $0.putsFailed } }
  func delayPuts(_ delay: Duration) { fault.withLock { $0.delay = delay } }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let (isAway, delay) = fault.withLock { fault in
      if fault.isAway { fault.putsFailed += 1 }
      return (fault.isAway, fault.delay)
    }
    if isAway { throw ObjectStorageError(.unavailable, operation: "put object", key: key.name) }
    if delay > .zero { try await Task.sleep(for: delay) }
    try await base.put(key, body)
  }
}

struct Unexpected: Error, CustomStringConvertible { var description: String }

/// A stock server, a store, and a line that begins where the server's WAL does.
struct Scene {
  let server: StockServer
  let store: FaultyStore
  let environment: HistoryEnvironment
  let line: LineWriter
  let directory: String

  var parameters: ConnectionParameters {
    ConnectionParameters(host: server.directory, user: "postgres")
  }

  /// Runs `body` with a started server whose line begins at the segment that the server is in.
  static func run(
    settings: [String] = [], _ body: (Scene) async throws -> Void
  ) async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: directory + "/server", settings: settings)
      try server.start()
      // A test may have stopped the server; else a failure to stop it shows as a leftover process.
      defer { try? server.stop(mode: "immediate") }
      let local = try LocalObjectStore(
        root: directory + "/store", fileSystem: SystemFileSystem())
      let store = FaultyStore(local)
      let environment = HistoryEnvironment(
        store: store, fileSystem: SystemFileSystem(), threads: BlockingThreads(count: 2),
        spoolDirectory: directory + "/layers")
      let replication = try ReplicationConnection(
        ConnectionParameters(host: server.directory, user: "postgres"))
      let system = try replication.identifySystem()
      replication.close()
      let start = LSN(system.flushedLSN.rawValue / (16 << 20) * (16 << 20))
      let line = try await LineWriter.create(
        LineDescription(
          id: LineID(rawValue: "ln-0123456789abcdef"), project: "p", startLSN: start,
          timeline: system.timeline, systemIdentifier: system.systemIdentifier, major: 15,
          serverVersion: "15", createdAt: HistoryEnvironment.systemTime()),
        environment: environment)
      try await body(
        Scene(
          server: server, store: store, environment: environment, line: line,
          directory: directory))
    }
  }

  func configuration(
    durability: CaptureDurability = .local, line: LineWriter? = nil,
    fileSystem: any FileSystem = SystemFileSystem()
  ) -> CaptureConfiguration {
    var configuration = CaptureConfiguration(
      connection: parameters, line: line ?? self.line, store: store,
      spoolDirectory: directory + "/spool", fileSystem: fileSystem, major: .v15,
      durability: durability)
    configuration.retryPause = .milliseconds(10) ... .milliseconds(100)
    return configuration
  }

  /// Opens and starts a capture.
  func startCapture(_ configuration: CaptureConfiguration? = nil) async throws -> WALCapture {
    let capture = try await WALCapture.open(configuration ?? self.configuration())
    capture.start()
    return capture
  }

  /// The server's flushed position.
  func flushedLSN() throws -> LSN {
    let text = try server.psql("SELECT pg_current_wal_flush_lsn()")
    guard let lsn = LSN(text) else { throw Unexpected(description: "not an LSN: \(text)") }
    return lsn
  }

  /// The server's own bytes of `[start, end)`.
  func serverWAL(_ start: LSN, _ end: LSN, timeline: UInt32 = 1) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var segment = WALSegment(timeline: TimelineID(timeline), containing: start)
    while segment.startLSN < end {
      let path = "\(server.dataDirectory)/pg_wal/\(segment.fileName)"
      bytes += [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      segment = segment.next
    }
    let first = Int(start - WALSegment(timeline: TimelineID(1), containing: start).startLSN)
    return Array(bytes[first..<first + Int(end - start)])
  }

  /// The store's bytes of `[start, end)`, read by whoever knows nothing but the store.
  func storedWAL(_ start: LSN, _ end: LSN) async throws -> [UInt8] {
    let id = line.description.id
    let history = try await LineHistory.open(id, store: store)
    var bytes: [UInt8] = []
    for try await part in history.readWAL(from: start, to: end) { bytes += part.bytes }
    return bytes
  }

  /// Where the line begins.
  func lineStart() async -> LSN { line.description.startLSN }

  /// Whether the store's WAL is the server's, byte for byte, up to `end`.
  func storeEqualsServer(upTo end: LSN) async throws -> Bool {
    let start = await lineStart()
    return try await storedWAL(start, end) == serverWAL(start, end)
  }
}

/// Remembers a capture's events until they are asked for.
final class EventLog: Sendable {
  private let box = EventBox()
  private let reader: Task<Void, Never>

  init(_ capture: WALCapture) {
    let events = capture.events
    reader = Task { [box] in for await event in events { box.add(event) } }
  }

  var all: [CaptureEvent] { box.all }
  deinit { reader.cancel() }

  /// Waits until an event is such as `matches` says, at most a minute.
  func first(_ matches: (CaptureEvent) -> Bool) async throws -> CaptureEvent {
    let deadline = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < deadline {
      if let event = all.first(where: matches) { return event }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw Unexpected(description: "event did not come; seen: \(all.suffix(4))")
  }
}

private final class EventBox: Sendable {
  private let events = Mutex<[CaptureEvent]>([])
  func add(_ event: CaptureEvent) { events.withLock { $0.append(event) } }
  var all: [CaptureEvent] { events.withLock { $0 } }
}
