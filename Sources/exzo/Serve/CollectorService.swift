import ControlPlane
import DurableIO
import Foundation
import History
import Logging
import PostgresFormat
import ServiceLifecycle

/// Evicts history that nothing needs, a round every few minutes, and says what the last one did.
///
/// Nothing goes while the machine's clock is doubted; see ``ClockWatch``.
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

  func run() async throws {
    guard let environment else {
      // A group's service must not end before the others.
      try? await gracefulShutdown()  // cancelled means the same
      return
    }
    let memory = self.memory()
    let collector = HistoryCollector(environment: environment, memory: memory) { [isFenced] in
      try await Task.sleep(for: Self.deletionPause)
      if isFenced() { throw CancellationError() }
    }
    await cancelWhenGracefulShutdown {
      var status: Status?
      var clock = memory.clock
      var pause = Self.pause
      while !Task.isCancelled, !isFenced() {
        do {
          guard let last = try await round(collector, environment, &clock, after: status) else {
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

  private var memoryFile: String { "\(dataDirectory)/collector-memory.json" }

  /// What the collector of the last process waited for; nothing where that cannot be read.
  private func memory() -> CollectorMemory {
    guard let bytes = FileManager.default.contents(atPath: memoryFile) else {
      return CollectorMemory()
    }
    do {
      return try CollectorMemory(json: bytes)
    } catch {
      log.warning(
        "the collector begins its waits anew", metadata: ["\(memoryFile)": "\(error)"])
      return CollectorMemory()
    }
  }

  /// - Returns: `nil` where the machine's clock is not believed, and so nothing was done.
  private func round(
    _ collector: HistoryCollector, _ environment: HistoryEnvironment, _ clock: inout ClockWatch,
    after last: Status?
  ) async throws -> Status? {
    // One time decides everything: windows, leases, ages. The watch looks at the machine's own clock, also where serve's
    // is ahead of it (EXZO_CLOCK_AHEAD).
    let now = environment.now()
    let reading = ClockWatch.Reading.now()
    let demands = try await plane.retention.promises(at: now.date).map {
      (LineID(rawValue: $0.lineID), LineDemand($0))
    }
    if let doubt = clock.doubt(reading, mayLose: !demands.isEmpty) {
      try await remember(collector, clock)
      log.warning("history is not collected yet", metadata: ["reason": "\(doubt)"])
      _ = noteFailure("\(doubt)", after: last)
      return nil
    }
    let report = try await collector.collect(
      Dictionary(demands, uniquingKeysWith: { first, _ in first }), at: now)
    for problem in report.problems {
      log.error("a line is not collected", metadata: ["error": "\(problem)"])
    }
    try await remember(collector, clock)
    let status = Status(
      lastRun: Date(), objectsDeleted: report.objectsDeleted, bytesFreed: report.bytesFreed,
      totalObjectsDeleted: (last?.totalObjectsDeleted ?? 0) + report.objectsDeleted,
      totalBytesFreed: (last?.totalBytesFreed ?? 0) + report.bytesFreed,
      keptBytes: report.keptBytes, unknownLines: report.unknownLines.map(\.rawValue),
      failure: report.problems.first.map { "\($0)" })
    try write(status)
    return status
  }

  private func remember(_ collector: HistoryCollector, _ clock: ClockWatch) async throws {
    var memory = await collector.memory
    memory.clock = clock
    try SystemFileSystem().replaceFile(
      memoryFile, with: Array(try memory.json()), operation: "write collector memory")
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
