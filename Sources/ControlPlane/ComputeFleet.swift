import Foundation
import PostgresFormat

/// What runs and opens computes; the control plane's only way to them.
///
/// Every call may be repeated: an operation that was interrupted does its step again.
public protocol ComputeFleet: FollowingFleet {
  /// Creates the root line of a project from the template and its volume; no compute is started.
  /// A line that is there already is left and described.
  func createRoot(_ request: RootRequest) async throws -> LineCreation
  /// Opens a moment of a line as a place to branch from; needs no compute.
  ///
  /// Head waits until every commit that was acknowledged before the call is in the history.
  /// - Throws: ``ComputeFleetError`` `.outOfWindow` with the window's ends.
  func resolve(line: String, moment: MomentRequest) async throws -> ResolvedMoment
  /// Makes sure that nothing that other machines still write to the line counts, and tells the end of what
  /// the store holds of it; `nil` where the store has no such line.
  /// - Throws: ``ComputeFleetError`` `.damaged` naming the object, where that end cannot be told.
  func takeOver(line: String) async throws -> ResolvedMoment?
  /// The two ends of what can be restored.
  func window(line: String) async throws -> RestoreWindow
  /// Opens (a new line at a moment) or wakes (its existing volume) and returns when connections are accepted.
  /// Idempotent by compute id: one that runs is returned as it is.
  func start(_ compute: ComputeRequest) async throws -> RunningCompute
  /// Stops a compute cleanly; its volume stays. One that does not run is no error; what it had acknowledged before
  /// an accident is stored.
  func suspend(computeID: String) async throws
  /// Whether commits of the line may lie on this machine's disk only, as after an accident; also while it runs.
  func holdsUnstoredWAL(line: String) -> Bool
  /// Stops a compute and deletes its local volume; the history stays. One that is not there is no error.
  func destroy(computeID: String, line: String) async throws
  /// Opens a moment for reading, beside everything else: a server that cannot write, whatever its
  /// sessions set. Nothing of it enters the history. Idempotent by id.
  func openReading(_ request: ReadingRequest) async throws -> RunningCompute
  /// Ends a compute that was opened for reading, and removes it. One that is not there is no error.
  func closeReading(id: String) async throws
  /// The computes that run now, also those that outlived a restart of `serve`.
  func running() async -> [RunningCompute]
  /// The compute that runs on a line. Costs the same however many lines there are.
  func running(line: String) async -> RunningCompute?
  /// Bytes of the databases on a line, as last measured; `nil` where nobody measured.
  func logicalSize(line: String) async -> Int?
  /// Moments opened, by way, and those by replay, by reason.
  func openings() -> (byWay: [String: Int], replayedByReason: [String: Int])
  /// Bytes that the line's own objects take in the store; `nil` where nobody can tell.
  func historyBytes(line: String) async -> Int?
  /// Reads all that the store holds of a line and checks it; `nil` where nobody can.
  func verify(_ request: VerificationRequest) async throws -> LineProof?
  /// Opens a moment on a line of its own and looks through it; ``endDrill(scratchLine:)`` removes it.
  func drill(_ request: DrillRequest) async throws -> DrillOutcome
  /// Removes what a drill made: compute, volume, objects.
  func endDrill(scratchLine: String) async throws
  /// How machine, computes and stores stand.
  func health() async -> FleetHealth
  /// What would be gone if all moments of the line before `date` were evicted; `nil` where nobody
  /// can tell.
  func historyCost(line: String, before date: Date) async -> HistoryCost?
  /// What happened on a line and its ancestors in `[from, to)`.
  func events(line: String, from: LSN, to: LSN) async throws -> LineEvents
  /// The transaction that deleted most rows of a relation in a range; `nil` where there is none.
  func mostDeleting(
    line: String, from relation: RelFileLocator, in range: Range<LSN>
  ) async throws -> DeletingTransaction?
}

extension ComputeFleet {
  public func takeOver(line: String) async throws -> ResolvedMoment? {
    do { return try await resolve(line: line, moment: .head) } catch let error as ComputeFleetError
      where error.code == .unknownLine
    { return nil }
  }
  public func events(line: String, from: LSN, to: LSN) async throws -> LineEvents { LineEvents() }
  public func mostDeleting(
    line: String, from relation: RelFileLocator, in range: Range<LSN>
  ) async throws -> DeletingTransaction? { nil }
  public func openings() -> (byWay: [String: Int], replayedByReason: [String: Int]) { ([:], [:]) }
  public func holdsUnstoredWAL(line: String) -> Bool { false }
  public func running(line: String) async -> RunningCompute? {
    await running().first { $0.lineID == line }
  }
  public func historyBytes(line: String) async -> Int? { nil }
  public func verify(_ request: VerificationRequest) async throws -> LineProof? { nil }
  public func drill(_ request: DrillRequest) async throws -> DrillOutcome {
    throw ComputeFleetError(.permanent, "drill: this fleet opens no scratch lines")
  }
  public func endDrill(scratchLine: String) async throws {}
  public func health() async -> FleetHealth { FleetHealth() }
  public func historyCost(line: String, before date: Date) async -> HistoryCost? { nil }
}

/// What an eviction takes away.
public struct HistoryCost: Codable, Hashable, Sendable {
  public var bytes: Int
  /// Transactions that committed in the time evicted.
  public var commits: Int

  public init(bytes: Int, commits: Int) {
    self.bytes = bytes
    self.commits = commits
  }
}

/// What a running compute has counted. Positions only grow while its line is the same.
public struct ComputeCounters: Codable, Hashable, Sendable {
  /// Where the line's own WAL starts; `nil` where the agent does not tell.
  public var startLSN: LSN?
  /// WAL that the compute has written ends here.
  public var writtenLSN: LSN

  public init(startLSN: LSN? = nil, writtenLSN: LSN) {
    self.startLSN = startLSN
    self.writtenLSN = writtenLSN
  }
}

/// The first line of a project.
public struct RootRequest: Codable, Hashable, Sendable {
  public var lineID: String
  public var projectID: String
  /// PostgreSQL's major version.
  public var major: Int

  public init(lineID: String, projectID: String, major: Int) {
    self.lineID = lineID
    self.projectID = projectID
    self.major = major
  }
}

/// A line that now exists.
public struct LineCreation: Codable, Hashable, Sendable {
  public var lineID: String
  public var systemIdentifier: UInt64
  /// Where the line's own WAL starts.
  public var startLSN: LSN

  public init(lineID: String, systemIdentifier: UInt64, startLSN: LSN) {
    self.lineID = lineID
    self.systemIdentifier = systemIdentifier
    self.startLSN = startLSN
  }
}

/// Which moment of a line is meant.
public enum MomentRequest: Codable, Hashable, Sendable {
  case head
  case lsn(LSN)
  /// The moment ends before the first commit or abort record later than this time.
  case time(Date)
}

/// A moment that can be opened.
public struct ResolvedMoment: Codable, Hashable, Sendable {
  /// The line that holds it: the one asked for or one of its ancestors.
  public var lineID: String
  /// The end of the last whole record of the moment.
  public var lsn: LSN
  /// The time of the moment, where it is known.
  public var time: Date?
  /// Where nothing comes in any more of a server that lives elsewhere: until when all that it wrote is held.
  public var heldUntil: Date?

  public init(lineID: String, lsn: LSN, time: Date? = nil, heldUntil: Date? = nil) {
    self.lineID = lineID
    self.lsn = lsn
    self.time = time
    self.heldUntil = heldUntil
  }
}

/// The two ends of what can be restored on a line.
public struct RestoreWindow: Codable, Hashable, Sendable {
  public var earliestLSN: LSN
  public var earliestTime: Date
  public var latestLSN: LSN
  public var latestTime: Date
  /// Whether `latestTime` stands still: nothing comes in of a server that lives elsewhere.
  public var hasEnded: Bool

  public init(
    earliestLSN: LSN, earliestTime: Date, latestLSN: LSN, latestTime: Date, hasEnded: Bool = false
  ) {
    self.earliestLSN = earliestLSN
    self.earliestTime = earliestTime
    self.latestLSN = latestLSN
    self.latestTime = latestTime
    self.hasEnded = hasEnded
  }
}

/// How a compute is to run.
public struct ComputeSettings: Codable, Hashable, Sendable {
  public var sharedBuffersMB: Int
  /// What the compute may take of the machine, in units of a processor and ``memoryMB``; `nil`: no limit.
  public var units: Double?
  /// Of the size; `nil`: no limit.
  public var memoryMB: Int?
  public var maxConnections: Int
  /// `wal_level=logical` instead of `replica`.
  public var enablesLogicalReplication: Bool
  /// Commits wait until they are in the object store.
  public var waitsForObjectStore: Bool
  /// Further PostgreSQL settings, of the list that users may set.
  public var parameters: [String: String]

  public init(
    sharedBuffersMB: Int = 128, units: Double? = nil, memoryMB: Int? = nil,
    maxConnections: Int = 100, enablesLogicalReplication: Bool = false,
    waitsForObjectStore: Bool = false,
    parameters: [String: String] = [:]
  ) {
    self.sharedBuffersMB = sharedBuffersMB
    self.units = units
    self.memoryMB = memoryMB
    self.maxConnections = maxConnections
    self.enablesLogicalReplication = enablesLogicalReplication
    self.waitsForObjectStore = waitsForObjectStore
    self.parameters = parameters
  }
}

/// A role as a compute shall have it.
public struct RoleRequest: Codable, Hashable, Sendable {
  public var name: String
  /// PostgreSQL's `SCRAM-SHA-256$…`.
  public var scramVerifier: String?
  public var login: Bool

  public init(name: String, scramVerifier: String?, login: Bool) {
    self.name = name
    self.scramVerifier = scramVerifier
    self.login = login
  }
}

/// A database as a compute shall have it.
public struct DatabaseRequest: Codable, Hashable, Sendable {
  public var name: String
  public var owner: String

  public init(name: String, owner: String) {
    self.name = name
    self.owner = owner
  }
}

/// A compute to open or wake.
public struct ComputeRequest: Codable, Hashable, Sendable {
  /// Where its data comes from when it has no volume here.
  public enum Origin: Codable, Hashable, Sendable {
    /// The line is in the history or on this machine; continue it.
    case existing
    /// The line is new: it starts at this moment of another.
    case branch(parentLine: String, lsn: LSN)
    /// The line was made by ``ComputeFleet/createRoot(_:)`` and has not run yet.
    case root
  }

  public var computeID: String
  public var projectID: String
  public var branchID: String
  public var endpointID: String
  public var lineID: String
  public var origin: Origin
  public var major: Int
  public var settings: ComputeSettings
  public var roles: [RoleRequest]
  public var databases: [DatabaseRequest]
  /// Replay time that the keyframes' spacing must guarantee.
  public var restoreObjective: Duration

  public init(
    computeID: String, projectID: String, branchID: String, endpointID: String, lineID: String,
    origin: Origin, major: Int, settings: ComputeSettings, roles: [RoleRequest],
    databases: [DatabaseRequest], restoreObjective: Duration = .milliseconds(400)
  ) {
    self.computeID = computeID
    self.projectID = projectID
    self.branchID = branchID
    self.endpointID = endpointID
    self.lineID = lineID
    self.origin = origin
    self.major = major
    self.settings = settings
    self.roles = roles
    self.databases = databases
    self.restoreObjective = restoreObjective
  }
}

/// A moment to open for reading.
public struct ReadingRequest: Codable, Hashable, Sendable {
  /// Names the compute's directory; `rd-…`, and `ro-…` for a replica.
  public var id: String
  public var projectID: String
  public var lineID: String
  public var lsn: LSN
  public var major: Int
  public var settings: ComputeSettings
  /// Whose replica it is; then the compute has the endpoint's id.
  public var endpointID: String?
  /// The line whose server it follows from the moment on; it is opened under that line's identity.
  public var followsLine: String?
  /// Roles that are to log in to a moment of a server elsewhere, which does not have them; else empty.
  public var roles: [RoleRequest]

  public init(
    id: String, projectID: String, lineID: String, lsn: LSN, major: Int, settings: ComputeSettings,
    endpointID: String? = nil, followsLine: String? = nil, roles: [RoleRequest] = []
  ) {
    self.roles = roles
    self.id = id
    self.projectID = projectID
    self.lineID = lineID
    self.lsn = lsn
    self.major = major
    self.settings = settings
    self.endpointID = endpointID
    self.followsLine = followsLine
  }
}

/// A compute that accepts connections.
public struct RunningCompute: Codable, Hashable, Sendable {
  public var computeID: String
  public var lineID: String
  /// The directory of `.s.PGSQL.<port>`.
  public var socketDirectory: String
  public var port: Int
  public var startedAt: Date
  public var pid: Int32
  /// `nil` where nobody counted.
  public var counters: ComputeCounters?
  /// The role that administers it, where that is not the platform's.
  public var superuser: String?

  public init(
    computeID: String, lineID: String, socketDirectory: String, port: Int, startedAt: Date,
    pid: Int32, counters: ComputeCounters? = nil, superuser: String? = nil
  ) {
    self.superuser = superuser
    self.computeID = computeID
    self.lineID = lineID
    self.socketDirectory = socketDirectory
    self.port = port
    self.startedAt = startedAt
    self.pid = pid
    self.counters = counters
  }
}

/// Why the fleet could not do what it was asked.
public struct ComputeFleetError: Error, Sendable, CustomStringConvertible {
  public enum Code: Sendable, Hashable {
    /// The moment lies outside what can be restored.
    case outOfWindow(RestoreWindow)
    /// The line is not in the history.
    case unknownLine
    /// The history is damaged; the message names the object.
    case damaged
    /// Something is short now, such as disk or processes; a later attempt may succeed.
    case temporary
    /// It will not work without someone's doing.
    case permanent
  }

  public var code: Code
  public var message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}
