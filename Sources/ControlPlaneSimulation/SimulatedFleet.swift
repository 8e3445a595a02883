import ControlPlane
import Foundation
import PostgresFormat
import Synchronization

/// Computes that exist in memory only, for tests of what stands above the fleet.
///
/// *State and invariants*: 1. A compute runs on a line that exists. 2. A line has one running
/// compute at most. 3. A
/// branch's line starts at a moment of a line that exists. A call that would break one throws
/// `.permanent`.
public final class SimulatedFleet: ComputeFleet {
  public struct Line: Sendable {
    public var parent: String?
    public var start: LSN
    public var head: LSN
    public var createdAt: Date
    /// Commits in order: when, and where their record ends.
    public var commits: [Commit] = []

    /// Where the first commit later than `time` starts, else the head.
    func position(at time: Date) -> LSN {
      guard let next = commits.firstIndex(where: { $0.time > time }) else { return head }
      return next == 0 ? start : commits[next - 1].end
    }
  }

  public struct Commit: Sendable {
    public var time: Date
    public var end: LSN
  }

  private struct State {
    var lines: [String: Line] = [:]
    var running: [String: RunningCompute] = [:]
    var readings: [String: ReadingRequest] = [:]
    var calls: [String] = []
    var failures: [String: [ComputeFleetError]] = [:]
    var historyBytes: [String: Int] = [:]
    var health = FleetHealth()
    var drill: DrillOutcome?
    /// Lines of computes that ended in an accident.
    var unstored: [String: String] = [:]
  }

  private let state = Mutex(State())
  private let clock: any WallClock
  /// Servers that live elsewhere.
  public let sources = SimulatedSources()

  public init(clock: any WallClock) { self.clock = clock }

  /// Names of calls in order, such as `start compute-x`.
  public var calls: [String] { state.withLock { $0.calls } }
  public var lines: [String: Line] { state.withLock { $0.lines } }

  /// The next calls of `name` (`start`, `suspend` …) throw these.
  public func fail(_ name: String, with errors: [ComputeFleetError]) {
    state.withLock { $0.failures[name, default: []] += errors }
  }

  /// Writes `bytes` of WAL to a line, as one transaction that commits now.
  public func write(_ bytes: UInt64, to line: String) {
    state.withLock { state in
      guard let head = state.lines[line]?.head else { return }
      state.lines[line]?.head = head + bytes
      state.lines[line]?.commits.append(Commit(time: clock.now, end: head + bytes))
    }
  }

  /// What is told of running computes from now on.
  public func setHealth(_ computes: [FleetHealth.Compute]) {
    state.withLock { $0.health.computes = computes }
  }

  /// What is told of the second store from now on.
  public func setMirror(_ mirror: FleetHealth.Mirror) {
    state.withLock { $0.health.mirror = mirror }
  }

  public func health() async -> FleetHealth { state.withLock { $0.health } }

  /// What drills find from now on; before that this fleet opens no scratch lines.
  public func setDrill(_ outcome: DrillOutcome) { state.withLock { $0.drill = outcome } }

  public func drill(_ request: DrillRequest) async throws -> DrillOutcome {
    try state.withLock { state in
      try enter("drill", "\(request.lineID) \(request.lsn)", &state)
      guard let outcome = state.drill else {
        throw ComputeFleetError(.permanent, "drill: this fleet opens no scratch lines")
      }
      return outcome
    }
  }

  public func endDrill(scratchLine: String) async throws {
    try state.withLock { try enter("endDrill", scratchLine, &$0) }
  }

  /// The line is gone from the store.
  public func forget(line: String) { state.withLock { $0.lines[line] = nil } }

  /// One compute dies.
  public func crash(_ computeID: String) { state.withLock { $0.running[computeID] = nil } }

  /// All computes die at once, as when the machine is switched off.
  public func crash() {
    state.withLock { state in
      for (compute, place) in state.running { state.unstored[compute] = place.lineID }
      state.running = [:]
    }
  }

  public func holdsUnstoredWAL(line: String) -> Bool {
    state.withLock { $0.unstored.values.contains(line) }
  }

  private func enter(_ name: String, _ subject: String, _ state: inout State) throws {
    state.calls.append("\(name) \(subject)")
    if let error = state.failures[name]?.first {
      state.failures[name]?.removeFirst()
      throw error
    }
  }

  public func createRoot(_ request: RootRequest) async throws -> LineCreation {
    try state.withLock { state in
      try enter("createRoot", request.lineID, &state)
      let start = LSN(0x150_0000)
      if state.lines[request.lineID] == nil {
        state.lines[request.lineID] = Line(
          parent: nil, start: start, head: start, createdAt: clock.now)
      }
      return LineCreation(lineID: request.lineID, systemIdentifier: 1, startLSN: start)
    }
  }

  private func window(_ line: Line, _ id: String) -> RestoreWindow {
    let held = sources.heldUntil(line: id)
    var window = RestoreWindow(
      earliestLSN: line.start, earliestTime: line.createdAt, latestLSN: line.head,
      latestTime: held ?? clock.now)
    window.hasEnded = held != nil
    return window
  }

  public func resolve(line: String, moment: MomentRequest) async throws -> ResolvedMoment {
    try state.withLock { state in
      try enter("resolve", line, &state)
      guard let found = state.lines[line] else {
        throw ComputeFleetError(.unknownLine, "resolve moment of line '\(line)': unknown line")
      }
      let isInside =
        switch moment {
        case .head: true
        case .lsn(let lsn): lsn >= found.start && lsn <= found.head
        case .time(let time): time >= found.createdAt && time <= window(found, line).latestTime
        }
      guard isInside else {
        throw ComputeFleetError(.outOfWindow(window(found, line)), "resolve moment: out of window")
      }
      switch moment {
      case .lsn(let lsn): return ResolvedMoment(lineID: line, lsn: lsn)
      case .time(let time):
        return ResolvedMoment(lineID: line, lsn: found.position(at: time), time: time)
      case .head:
        var head = ResolvedMoment(lineID: line, lsn: found.head, time: clock.now)
        head.heldUntil = sources.heldUntil(line: line)
        return head
      }
    }
  }

  public func window(line: String) async throws -> RestoreWindow {
    try state.withLock { state in
      try enter("window", line, &state)
      guard let found = state.lines[line] else {
        throw ComputeFleetError(.unknownLine, "tell window of line '\(line)': unknown line")
      }
      return window(found, line)
    }
  }

  public func start(_ compute: ComputeRequest) async throws -> RunningCompute {
    try state.withLock { state in
      try enter("start", compute.computeID, &state)
      if let running = state.running[compute.computeID] { return running }
      try open(compute, &state)
      if state.running.values.contains(where: { $0.lineID == compute.lineID }) {
        throw ComputeFleetError(.permanent, "start: two computes on line '\(compute.lineID)'")
      }
      let running = RunningCompute(
        computeID: compute.computeID, lineID: compute.lineID,
        socketDirectory: "/nowhere/\(compute.computeID)", port: 5432, startedAt: clock.now,
        pid: Int32(1000 + state.calls.count))
      state.running[compute.computeID] = running
      return running
    }
  }

  private func open(_ compute: ComputeRequest, _ state: inout State) throws {
    guard state.lines[compute.lineID] == nil else { return }
    guard case .branch(let parent, let lsn) = compute.origin else {
      throw ComputeFleetError(.permanent, "start: line '\(compute.lineID)' does not exist")
    }
    guard let source = state.lines[parent], lsn >= source.start, lsn <= source.head else {
      throw ComputeFleetError(.permanent, "start: \(lsn) is no moment of line '\(parent)'")
    }
    state.lines[compute.lineID] = Line(parent: parent, start: lsn, head: lsn, createdAt: clock.now)
  }

  public func suspend(computeID: String) async throws {
    try state.withLock { state in
      try enter("suspend", computeID, &state)
      state.unstored[computeID] = nil
      state.running[computeID] = nil
    }
  }

  public func destroy(computeID: String, line: String) async throws {
    try state.withLock { state in
      try enter("destroy", computeID, &state)
      state.running[computeID] = nil
    }
  }

  /// Moments that are open for reading, by id.
  public var readings: [String: ReadingRequest] { state.withLock { $0.readings } }

  public func openReading(_ request: ReadingRequest) async throws -> RunningCompute {
    try state.withLock { state in
      try enter("openReading", request.id, &state)
      guard let source = state.lines[request.lineID], request.lsn >= source.start,
        request.lsn <= source.head
      else {
        throw ComputeFleetError(
          .permanent, "read: \(request.lsn) is no moment of line '\(request.lineID)'")
      }
      state.readings[request.id] = request
      guard let endpoint = request.endpointID else {
        return RunningCompute(
          computeID: request.id, lineID: request.lineID, socketDirectory: "/nowhere/\(request.id)",
          port: 5432, startedAt: clock.now, pid: 1)
      }
      let replica = RunningCompute(
        computeID: endpoint, lineID: request.id, socketDirectory: "/nowhere/\(request.id)",
        port: 5432, startedAt: clock.now, pid: 1)
      state.running[endpoint] = replica
      return replica
    }
  }

  public func closeReading(id: String) async throws {
    try state.withLock { state in
      try enter("closeReading", id, &state)
      state.readings[id] = nil
      for (compute, place) in state.running where place.lineID == id {
        state.running[compute] = nil
      }
    }
  }

  public func running() async -> [RunningCompute] {
    state.withLock { state in
      state.running.values.map { compute in
        var compute = compute
        compute.counters = state.lines[compute.lineID].map {
          ComputeCounters(startLSN: $0.start, writtenLSN: $0.head)
        }
        return compute
      }
    }
  }

  /// Says how much a line's objects take.
  public func set(historyBytes: Int, of line: String) {
    state.withLock { $0.historyBytes[line] = historyBytes }
  }

  public func historyBytes(line: String) async -> Int? { state.withLock { $0.historyBytes[line] } }

  /// As if the line had grown evenly since it was made.
  public func historyCost(line: String, before date: Date) async -> HistoryCost? {
    state.withLock { state in
      guard let bytes = state.historyBytes[line], let start = state.lines[line]?.createdAt,
        clock.now > start
      else { return nil }
      let part = date.timeIntervalSince(start) / clock.now.timeIntervalSince(start)
      let share = min(max(part, 0), 1)
      return HistoryCost(bytes: Int(Double(bytes) * share), commits: Int(1000 * share))
    }
  }

  public func logicalSize(line: String) async -> Int? { 7_000_000 }
}
