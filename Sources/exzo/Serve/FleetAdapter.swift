import Compute
import ControlPlane
import Dumps
import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PostgresClient
import PostgresFormat
import Synchronization

/// The control plane's way to agents and to history.
final class FleetAdapter: ComputeFleet {
  let fleet: AgentFleet
  let store: any ObjectStore
  private let objectStoreURL: String
  private let server: InstalledServer
  private var installation: PostgresInstallation { server.installation }
  private let template: TemplateBuilder.Template
  let identities: IdentityRegistry
  let clock: any WallClock
  /// Copies the store to the second one, where there is one.
  let mirror: ObjectMirror?
  /// What is verified.
  let checkedStore: CheckedStore
  /// What limits computes to their size, where the machine allows it.
  let controlGroups: ControlGroups?
  /// Which addresses servers elsewhere may have.
  let networks: NetworkRules
  /// Which keyframes hold pages, where measuring asks for other ones than the policy.
  let completeLayers: AgentSpecification.CompleteLayers?
  /// Whether the kernel may keep the page writes of computes; `nil` leaves it to the agents.
  let cachesWrites: Bool?
  var binaries: String { installation.binaries }
  let log = Logger(label: "fleet")
  let timelines = TimelineReader()
  let drops = DatabaseDrops()
  private let histories = Mutex<[String: LineHistory]>([:])

  init(
    fleet: AgentFleet, store: any ObjectStore, objectStoreURL: String,
    installation: PostgresInstallation, template: TemplateBuilder.Template,
    identities: IdentityRegistry, clock: any WallClock, mirror: ObjectMirror? = nil,
    checkedStore: CheckedStore,
    controlGroups: ControlGroups? = nil,
    networks: NetworkRules, completeLayers: AgentSpecification.CompleteLayers? = nil,
    cachesWrites: Bool? = nil
  ) {
    self.networks = networks
    self.cachesWrites = cachesWrites
    self.completeLayers = completeLayers
    self.fleet = fleet
    self.store = store
    self.objectStoreURL = objectStoreURL
    server = InstalledServer(installation)
    self.template = template
    self.identities = identities
    self.clock = clock
    self.mirror = mirror
    self.checkedStore = checkedStore
    self.controlGroups = controlGroups
  }

  // MARK: Lines and moments

  func createRoot(_ request: RootRequest) async throws -> LineCreation {
    guard request.major == installation.major else {
      throw ComputeFleetError(
        .permanent,
        "create a project on PostgreSQL \(request.major): this installation runs \(installation.major)"
      )
    }
    // The line itself is made when its first compute opens the template's moment.
    return LineCreation(lineID: request.lineID, systemIdentifier: 0, startLSN: template.lsn)
  }

  func resolve(line: String, moment: MomentRequest) async throws -> ResolvedMoment {
    try await translating {
      if let past = try await self.past(line, moment) { return past }
      let head = try await self.storedHead(of: line, mustBeComplete: moment.reachesTheEnd)
      let history = try await self.history(line)
      let window = try await self.window(of: history, head: head)
      let target: SeekTarget
      let time: Date?
      switch moment {
      case .head: (target, time) = (head.map { .lsn($0) } ?? .head, nil)
      case .lsn(let lsn):
        guard lsn >= window.earliestLSN, lsn <= window.latestLSN else {
          if lsn > window.latestLSN, head == nil { try self.requireDrained(line) }
          throw ComputeFleetError(.outOfWindow(window), "LSN \(lsn) lies outside the window")
        }
        (target, time) = (.lsn(lsn), nil)
      case .time(let asked):
        guard asked >= window.earliestTime, asked <= window.latestTime else {
          throw ComputeFleetError(.outOfWindow(window), "the time lies outside the window")
        }
        (target, time) = (.time(PostgresTimestamp(asked)), asked)
      }
      let found: Moment
      do {
        found = try await history.seek(target, now: PostgresTimestamp(self.clock.now))
      } catch let error as HistoryError where error.code == .beforeStart {
        throw ComputeFleetError(.outOfWindow(window), error.description)
      }
      let lsn = max(found.lsn, window.earliestLSN)
      // Made in one go: changed after it was made, an optimized build (Swift 6) returned other memory from this closure.
      return ResolvedMoment(
        lineID: line, lsn: window.hasEnded ? min(lsn, window.latestLSN) : lsn, time: time,
        heldUntil: window.hasEnded ? window.latestTime : nil)
    }
  }

  func window(line: String) async throws -> RestoreWindow {
    try await translating {
      let head = try await self.storedHead(of: line, mustBeComplete: false)
      return try await self.window(of: try await self.history(line), head: head)
    }
  }

  /// The line's own reach: from where it began to what is stored.
  func window(of history: LineHistory, head: LSN?) async throws -> RestoreWindow {
    let description = await history.description
    let uploaded = await history.uploadedLSN
    // Of a line that follows a server elsewhere nothing can be opened before its first keyframe.
    let isFollowing = description.parent == nil && description.bootstrapRole != nil
    let first = isFollowing ? await history.keyframes.first : nil
    let earliest = (first?.createdAt ?? description.createdAt).date
    let held = isFollowing ? await heldUntil(history) : nil
    return RestoreWindow(
      earliestLSN: first?.consistentLSN ?? description.startLSN, earliestTime: earliest,
      // What came last may be what cannot be opened.
      latestLSN: held == nil ? max(head ?? uploaded, uploaded) : head ?? uploaded,
      latestTime: held.map { max($0, earliest) } ?? clock.now, hasEnded: held != nil)
  }

  /// Until when all that a server elsewhere wrote is held; `nil` while it streams.
  ///
  /// Known of a stream that ended while its agent ran; else the last commit that came.
  private func heldUntil(_ history: LineHistory) async -> Date? {
    let line = await history.description.id.rawValue
    let source = await fleet.client(line: line).status()?.source
    if let source, source.isStreaming, source.phase != .failed { return nil }
    if let held = source?.heldUntil { return held }
    return await history.latestCommitTime?.date ?? .distantPast
  }

  /// An LSN that holds every commit acknowledged so far, once it is stored; `nil` where no compute
  /// runs.
  ///
  /// - Parameter mustBeComplete: refuse where acknowledged commits may still lie on local disk only.
  private func storedHead(of line: String, mustBeComplete: Bool) async throws -> LSN? {
    let client = fleet.client(line: line)
    if await client.status()?.phase == .running { return try await client.head() }
    if mustBeComplete { try requireDrained(line) }
    return nil
  }

  private func requireDrained(_ line: String) throws {
    guard !fleet.isDrained(line: line) else { return }
    throw ComputeFleetError(
      .temporary,
      "find the head of line '\(line)': its compute does not run, and its last WAL is not stored yet; "
        + "start its endpoint and try again")
  }

  /// The line's history as it is in the store now.
  func history(_ line: String) async throws -> LineHistory {
    if let known = histories.withLock({ $0[line] }) {
      try await known.refresh()
      return known
    }
    let opened = try await LineHistory.open(LineID(rawValue: line), store: store)
    histories.withLock { $0[line] = opened }
    return opened
  }

  /// Where a line is read again, it is opened anew.
  func forget(line: String) { histories.withLock { $0[line] = nil } }

  // MARK: Computes

  func start(_ compute: ComputeRequest) async throws -> RunningCompute {
    try await translating {
      let specification = try await withThread(named: "specification") {
        try self.specification(for: compute)
      }
      let status = try await self.fleet.start(specification)
      return self.running(specification, status)
    }
  }

  /// Blocks the thread where the server's binaries have changed.
  func specification(for compute: ComputeRequest) throws -> AgentSpecification {
    let origin: AgentSpecification.Origin
    switch compute.origin {
    case .root: origin = .branch(parent: template.line, lsn: template.lsn)
    case .branch(let parent, let lsn): origin = .branch(parent: parent, lsn: lsn)
    case .existing: origin = try fleet.specification(line: compute.lineID)?.origin ?? .existing
    }
    var specification = AgentSpecification(
      computeID: compute.computeID, projectID: compute.projectID, line: compute.lineID,
      major: compute.major, binaries: installation.binaries,
      serverVersion: try server.version(),
      identity: try identities.identity(project: compute.projectID),
      objectStore: objectStoreURL, origin: origin,
      settings: ServerSettings(
        sharedBuffersMegabytes: compute.settings.sharedBuffersMB,
        maxConnections: compute.settings.maxConnections,
        logicalReplication: compute.settings.enablesLogicalReplication,
        waitsForObjectStore: compute.settings.waitsForObjectStore,
        extra: compute.settings.parameters),
      roles: compute.roles.map {
        RoleCredential(name: $0.name, scramVerifier: $0.login ? $0.scramVerifier : nil)
      },
      restoreObjective: Double(compute.restoreObjective.components.seconds)
        + Double(compute.restoreObjective.components.attoseconds) / 1e18)
    specification.controlGroup = controlGroup(for: compute)
    specification.completeLayers = completeLayers
    specification.cachesWrites = cachesWrites
    return specification
  }

  private func controlGroup(for compute: ComputeRequest) -> ControlGroup? {
    guard let memory = compute.settings.memoryMB, let units = compute.settings.units else {
      return nil
    }
    return controlGroups?.group(
      line: compute.lineID, memoryBytes: UInt64(memory) << 20, processors: units)
  }

  func suspend(computeID: String) async throws {
    try await translating {
      guard let line = self.line(ofCompute: computeID) else { return }
      let ran = await self.fleet.client(line: line).status() != nil
      try await self.fleet.suspend(line: line)
      // What ran and could not store its last WAL now could not a moment later either.
      if ran { return }
      do { try await self.drain(line) } catch let error as CancellationError {
        throw error
      } catch {
        // It is as suspended as it was before; what needs its last WAL says so.
        self.log.error(
          "last WAL not stored", metadata: ["line": "\(line)", "error": "\(error)"])
      }
    }
  }

  func holdsUnstoredWAL(line: String) -> Bool { !fleet.isDrained(line: line) }

  /// After an accident a line's last WAL is stored by another start and a clean stop.
  private func drain(_ line: String) async throws {
    guard !fleet.isDrained(line: line), var specification = try fleet.specification(line: line)
    else { return }
    // It may have run before this installation was moved or got another store.
    specification.objectStore = objectStoreURL
    specification.binaries = installation.binaries
    _ = try await fleet.start(specification)
    try await fleet.suspend(line: line)
  }

  func destroy(computeID: String, line: String) async throws {
    try await translating {
      try await self.fleet.suspend(line: line)
      // The volume may go only when the history has all of it: a branch can be recovered.
      try await self.drain(line)
      guard self.fleet.isDrained(line: line) else {
        throw ComputeFleetError(
          .temporary,
          "delete the volume of line '\(line)': its last WAL is not in the object store yet")
      }
      try await self.fleet.destroy(line: line)
      self.histories.withLock { $0[line] = nil }
    }
  }

  func running() async -> [RunningCompute] {
    var found: [RunningCompute] = []
    for line in fleet.lines() {
      guard !line.hasPrefix(Self.readingPrefix) else { continue }
      if let compute = await running(line: line) { found.append(compute) }
    }
    return found
  }

  func running(line: String) async -> RunningCompute? {
    guard let status = await fleet.client(line: line).status(), status.phase == .running,
      // A line whose specification cannot be read is not one that the control plane started.
      let specification = try? fleet.specification(line: line), specification.source == nil
    else { return nil }
    return running(specification, status)
  }

  /// Measured over the compute's own connection instead: see ``TenantConfigurator``.
  func logicalSize(line: String) async -> Int? { nil }

  func openings() -> (byWay: [String: Int], replayedByReason: [String: Int]) {
    var (ways, reasons): ([String: Int], [String: Int]) = ([:], [:])
    for (opening, count) in fleet.openingCounts {
      ways[opening.way.rawValue, default: 0] += count
      if let reason = opening.reason { reasons[reason, default: 0] += count }
    }
    return (ways, reasons)
  }

  func historyBytes(line: String) async -> Int? {
    do {
      return try await StoredSize(store: store).bytes(line: line)
    } catch {
      log.warning("history was not measured", metadata: ["line": "\(line)", "error": "\(error)"])
      return nil
    }
  }

  private func line(ofCompute id: String) -> String? {
    // A specification that cannot be read is that of no compute the control plane knows.
    fleet.lines().first { (try? fleet.specification(line: $0))??.computeID == id }
  }

  func running(
    _ specification: AgentSpecification, _ status: AgentStatus
  ) -> RunningCompute {
    RunningCompute(
      computeID: specification.computeID, lineID: specification.line,
      socketDirectory: fleet.directory(line: specification.line).run, port: 5432,
      startedAt: Date(), pid: status.agentPID,
      counters: status.receivedLSN == .invalid
        ? nil : ComputeCounters(startLSN: status.startLSN, writtenLSN: status.receivedLSN),
      superuser: status.superuser)
  }

  // MARK: Errors

  /// Turns what compute and history say into the control plane's errors.
  func translating<Value: Sendable>(
    _ work: @escaping @Sendable () async throws -> Value
  ) async throws -> Value {
    do {
      return try await work()
    } catch let error as ComputeError {
      let code: ComputeFleetError.Code =
        switch error.code {
        case .damagedHistory, .recovery: .damaged
        case .serverMissing, .environment: .permanent
        case .process, .agent, .outOfWindow: .temporary
        }
      throw ComputeFleetError(code, error.description)
    } catch let error as HistoryError {
      let code: ComputeFleetError.Code =
        switch error.code {
        case .unknownLine: .unknownLine
        case .store, .localFile, .unknownKey: .temporary
        default: .damaged
        }
      throw ComputeFleetError(code, error.description)
    }
  }
}

extension MomentRequest {
  /// Whether the answer depends on the newest commits.
  fileprivate var reachesTheEnd: Bool {
    if case .lsn = self { false } else { true }
  }
}

extension PostgresTimestamp {
  /// Microseconds are the finest that both sides know.
  init(_ date: Date) {
    let microseconds = (date.timeIntervalSince1970 * 1_000_000).rounded()
    self.init(
      Int64(microseconds) - PostgresTimestamp.unixEpochOffsetSeconds * 1_000_000)
  }

  var date: Date { Date(timeIntervalSince1970: Double(unixMicroseconds) / 1_000_000) }
}
