import Foundation
import PostgresFormat

/// When proofs are made by themselves, and what they must reach.
public struct ProofSettings: Sendable {
  /// Between drills of one branch; 0 makes none by itself. Seconds.
  public var drillInterval: TimeInterval
  /// What a moment may take to open; slower is told.
  public var drillObjective: Duration
  /// Between verifications of everything; 0 makes none by itself. Seconds.
  public var verificationInterval: TimeInterval
  /// Bytes a second that a verification reads.
  public var verificationRate: UInt64

  public init(
    drillInterval: TimeInterval = 86_400, drillObjective: Duration = .seconds(5),
    verificationInterval: TimeInterval = 604_800, verificationRate: UInt64 = 64 << 20
  ) {
    self.drillInterval = drillInterval
    self.drillObjective = drillObjective
    self.verificationInterval = verificationInterval
    self.verificationRate = verificationRate
  }
}

/// A moment to open and look through, beside everything else.
public struct DrillRequest: Sendable {
  /// A line that is made for it, and removed.
  public var scratchLineID: String
  public var computeID: String
  public var projectID: String
  public var lineID: String
  public var lsn: LSN
  public var major: Int

  public init(
    scratchLineID: String, computeID: String, projectID: String, lineID: String, lsn: LSN,
    major: Int
  ) {
    self.scratchLineID = scratchLineID
    self.computeID = computeID
    self.projectID = projectID
    self.lineID = lineID
    self.lsn = lsn
    self.major = major
  }
}

/// What a drill found.
public struct DrillOutcome: Sendable {
  public var toOpen: Duration
  public var databases = 0
  public var tables = 0
  public var rows = 0
  /// `passed`, `failed`, or why it was not run, or not to its end.
  public var amcheck = "not run"
  /// Why the drill did not pass.
  public var problems: [String] = []

  public init(toOpen: Duration) { self.toOpen = toOpen }
}

/// A line to read whole and check.
public struct VerificationRequest: Sendable {
  public var lineID: String
  public var bytesPerSecond: UInt64
  /// Reads what is promised of the line when it is called; `nil` where nothing is. Reading a line takes hours, in
  /// which windows move on, and leases and snapshots end.
  public var promised: @Sendable () async throws -> LinePromise?

  public init(
    lineID: String, bytesPerSecond: UInt64,
    promised: @escaping @Sendable () async throws -> LinePromise?
  ) {
    self.lineID = lineID
    self.bytesPerSecond = bytesPerSecond
    self.promised = promised
  }
}

/// What a verification of one line found.
public struct LineProof: Sendable {
  public var objects: Int
  public var bytes: Int
  public var moments: Int
  public var problems: [String]

  public init(objects: Int, bytes: Int, moments: Int, problems: [String]) {
    self.objects = objects
    self.bytes = bytes
    self.moments = moments
    self.problems = problems
  }
}
