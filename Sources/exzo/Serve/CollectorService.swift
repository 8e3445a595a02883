import ControlPlane
import DurableIO
import Foundation
import History
import Logging
import PostgresFormat
import ServiceLifecycle

/// Evicts history that nothing needs, a round every few minutes, and says what the last one did.
///
/// Nothing goes while the machine's clock is doubted; see ``ClockWatch``. Nor does the control plane end by it what keeps
/// history, from the making of this on.
///
/// The status is in `DIR/collector.json`, what it waits for in `DIR/collector-memory.json`.
struct CollectorService: Service {
  let plane: ControlPlane
  /// `nil` where history is not collected.
  let environment: HistoryEnvironment?
  let dataDirectory: String
  /// Asked before each round and each deletion: what an installation promises that another has taken the store
  /// from counts no more.
  let isFenced: @Sendable () -> Bool
  let log: Logger
  private let memory: CollectorMemory
  private let clock: WatchedClock
  /// Between the end of a round that took something and the next.
  private static let pause: Duration = .seconds(300)
  /// Rounds that find nothing come ever more seldom: a round lists each line, which a bucket charges for.
  private static let longestPause: Duration = .seconds(1800)
  /// Between deletions: 200 a second at most.
  private static let deletionPause: Duration = .milliseconds(5)

  /// What the last round did, and all since serve started.
  struct Status: Codable {
    var lastRun: Date
    var objectsDeleted: Int
    var bytesFreed: UInt64
    var totalObjectsDeleted: Int
    var totalBytesFreed: UInt64
    var keptBytes: UInt64
    var unknownLines: [String]
    /// Why the last round collected nothing, or what it had to leave alone.
    var failure: String?
  }

  init(
    plane: ControlPlane, environment: HistoryEnvironment?, dataDirectory: String,
    isFenced: @escaping @Sendable () -> Bool, log: Logger
  ) {
    self.plane = plane
    self.environment = environment
    self.dataDirectory = dataDirectory
    self.isFenced = isFenced
    self.log = log
    memory = Self.memory(Self.memoryFile(dataDirectory), log)
    let clock = WatchedClock(memory.clock)
    self.clock = clock
    // Without rounds nothing would ever end the doubt.
    if environment != nil { plane.clockDoubt.follow { clock.isDoubted } }
  }

  func run() async throws {
    guard let environment else {
      // A group's service must not end before the others.
      try? await gracefulShutdown()  // cancelled means the same
      return
    }
    let collector = HistoryCollector(environment: environment, memory: memory) { [isFenced] in
      try await Task.sleep(for: Self.deletionPause)
      if isFenced() { throw CancellationError() }
    }
    await cancelWhenGracefulShutdown {
      var status: Status?
      var pause = Self.pause
      while !Task.isCancelled, !isFenced() {
        do {
          guard let last = try await round(collector, environment, after: status) else {
            try await Task.sleep(for: Self.pause)
            continue
          }
          pause = last.objectsDeleted > 0 ? Self.pause : min(pause * 2, Self.longestPause)
          status = last
          try await Task.sleep(for: pause)
        } catch is CancellationError {
          return
        } catch {
          log.error("collection failed", metadata: ["error": "\(error)"])
          status = noteFailure("\(error)", after: status)
          // The next round goes on from there. A sleep that is cancelled ends the loop.
          try? await Task.sleep(for: Self.pause)
        }
      }
    }
  }

  private static func memoryFile(_ dataDirectory: String) -> String {
    "\(dataDirectory)/collector-memory.json"
  }

  /// What the collector of the last process waited for; nothing where that cannot be read.
  private static func memory(_ file: String, _ log: Logger) -> CollectorMemory {
    guard let bytes = FileManager.default.contents(atPath: file) else {
      return CollectorMemory()
    }
    do {
      return try CollectorMemory(json: bytes)
    } catch {
      log.warning("the collector begins its waits anew", metadata: ["\(file)": "\(error)"])
      return CollectorMemory()
    }
  }

  /// - Returns: `nil` where the machine's clock is not believed, and so nothing was done.
  private func round(
    _ collector: HistoryCollector, _ environment: HistoryEnvironment, after last: Status?
  ) async throws -> Status? {
    // One time decides everything: windows, leases, ages. The watch looks at the machine's own clock, also where serve's
    // is ahead of it (EXZO_CLOCK_AHEAD).
    let now = environment.now()
    let reading = ClockWatch.Reading.now()
    let demands = try await plane.retention.promises(at: now.date).map {
      (LineID(rawValue: $0.lineID), LineDemand($0))
    }
    if let doubt = clock.doubt(reading, mayLose: !demands.isEmpty) {
      try await remember(collector)
      log.warning("history is not collected yet", metadata: ["reason": "\(doubt)"])
      _ = noteFailure("\(doubt)", after: last)
      return nil
    }
    let report = try await collector.collect(
      Dictionary(demands, uniquingKeysWith: { first, _ in first }), at: now)
    for problem in report.problems {
      log.error("a line is not collected", metadata: ["error": "\(problem)"])
    }
    try await remember(collector)
    let status = Status(
      lastRun: Date(), objectsDeleted: report.objectsDeleted, bytesFreed: report.bytesFreed,
      totalObjectsDeleted: (last?.totalObjectsDeleted ?? 0) + report.objectsDeleted,
      totalBytesFreed: (last?.totalBytesFreed ?? 0) + report.bytesFreed,
      keptBytes: report.keptBytes, unknownLines: report.unknownLines.map(\.rawValue),
      failure: report.problems.first.map { "\($0)" })
    try write(status)
    return status
  }

  private func remember(_ collector: HistoryCollector) async throws {
    var memory = await collector.memory
    memory.clock = clock.watch
    try SystemFileSystem().replaceFile(
      Self.memoryFile(dataDirectory), with: Array(try memory.json()),
      operation: "write collector memory")
  }

  /// Says why nothing was collected, so that it is seen where the status is looked at.
  private func noteFailure(_ failure: String, after last: Status?) -> Status {
    let status = Status(
      lastRun: Date(), objectsDeleted: 0, bytesFreed: 0,
      totalObjectsDeleted: last?.totalObjectsDeleted ?? 0,
      totalBytesFreed: last?.totalBytesFreed ?? 0, keptBytes: last?.keptBytes ?? 0,
      unknownLines: last?.unknownLines ?? [], failure: failure)
    do { try write(status) } catch {
      log.error("the collector's status is not written", metadata: ["error": "\(error)"])
    }
    return status
  }

  private func write(_ status: Status) throws {
    try SystemFileSystem().replaceFile(
      "\(dataDirectory)/collector.json", with: Array(try JSONEncoder().encode(status)),
      operation: "write collector status")
  }
}

extension LineDemand {
  init(_ promise: LinePromise) {
    self.init(
      window: promise.start.map { .since(PostgresTimestamp($0)) }, moments: promise.moments,
      readings: promise.readings.map { Reading(lsn: $0.lsn, since: PostgresTimestamp($0.since)) },
      inheritsWindow: promise.inheritsWindow,
      ancestry: promise.parentID.map { Ancestry.line(LineID(rawValue: $0)) } ?? .root)
  }
}
