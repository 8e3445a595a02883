import Foundation

extension API {
  /// How a proof stands.
  public enum ProofStatus: String, WireEnumeration {
    case scheduled, running, passed, failed
    /// It could not be done; says nothing about what it was to prove.
    case error
  }

  /// A check of everything that the object store holds, of a project or of all.
  public struct Verification: Codable, Hashable, Sendable {
    public var id: String
    /// Absent: of everything.
    public var projectID: String?
    public var status: ProofStatus
    public var lines: Int
    public var objects: Int
    public var bytes: Int
    /// Promised moments that were sought.
    public var moments: Int
    /// The first 100.
    public var problems: [String]
    public var problemsCount: Int
    public var error: String?
    public var createdAt: Date
    public var finishedAt: Date?

    public init(
      id: String, projectID: String?, status: ProofStatus, lines: Int, objects: Int, bytes: Int,
      moments: Int, problems: [String], problemsCount: Int, error: String?, createdAt: Date,
      finishedAt: Date?
    ) {
      self.id = id
      self.projectID = projectID
      self.status = status
      self.lines = lines
      self.objects = objects
      self.bytes = bytes
      self.moments = moments
      self.problems = problems
      self.problemsCount = problemsCount
      self.error = error
      self.createdAt = createdAt
      self.finishedAt = finishedAt
    }

    enum CodingKeys: String, CodingKey {
      case id, status, lines, objects, bytes, moments, problems, error
      case projectID = "project_id"
      case problemsCount = "problems_count"
      case createdAt = "created_at"
      case finishedAt = "finished_at"
    }
  }

  public struct VerificationResponse: Codable, Hashable, Sendable {
    public var verification: Verification
    public init(verification: Verification) { self.verification = verification }
  }

  public struct VerificationListResponse: Codable, Hashable, Sendable {
    public var verifications: [Verification]
    public init(verifications: [Verification]) { self.verifications = verifications }
  }

  /// A random moment of a branch, opened to prove that it can be.
  public struct Drill: Codable, Hashable, Sendable {
    public var id: String
    public var projectID: String
    public var branchID: String
    public var status: ProofStatus
    public var lsn: String?
    public var timestamp: Date?
    /// From the request to the first query's answer.
    public var millisecondsToOpen: Int?
    public var objectiveMilliseconds: Int?
    public var databases: Int?
    public var tables: Int?
    public var rows: Int?
    /// `passed`, `failed`, or why it was not run, or not to its end.
    public var amcheck: String?
    public var error: String?
    public var createdAt: Date
    public var finishedAt: Date?

    public init(
      id: String, projectID: String, branchID: String, status: ProofStatus, createdAt: Date
    ) {
      self.id = id
      self.projectID = projectID
      self.branchID = branchID
      self.status = status
      self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
      case id, status, lsn, timestamp, databases, tables, rows, amcheck, error
      case projectID = "project_id"
      case branchID = "branch_id"
      case millisecondsToOpen = "milliseconds_to_open"
      case objectiveMilliseconds = "objective_milliseconds"
      case createdAt = "created_at"
      case finishedAt = "finished_at"
    }
  }

  public struct DrillResponse: Codable, Hashable, Sendable {
    public var drill: Drill
    public init(drill: Drill) { self.drill = drill }
  }

  public struct DrillListResponse: Codable, Hashable, Sendable {
    public var drills: [Drill]
    public init(drills: [Drill]) { self.drills = drills }
  }
}
