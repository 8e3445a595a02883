import Foundation

extension API {
  /// The body of `POST …/branches/{branch_id}/restore`: the state that the branch takes, in place.
  public struct BranchRestoreRequest: Codable, Hashable, Sendable {
    public var sourceBranchID: String
    public var sourceLSN: String?
    public var sourceTimestamp: Date?
    /// Keeps the state before as a branch of this name.
    public var preserveUnderName: String?
    /// Restores a protected branch, too.
    public var force: Bool?

    public init(
      sourceBranchID: String, sourceLSN: String? = nil, sourceTimestamp: Date? = nil,
      preserveUnderName: String? = nil, force: Bool? = nil
    ) {
      self.sourceBranchID = sourceBranchID
      self.sourceLSN = sourceLSN
      self.sourceTimestamp = sourceTimestamp
      self.preserveUnderName = preserveUnderName
      self.force = force
    }

    enum CodingKeys: String, CodingKey {
      case force
      case sourceBranchID = "source_branch_id"
      case sourceLSN = "source_lsn"
      case sourceTimestamp = "source_timestamp"
      case preserveUnderName = "preserve_under_name"
    }
  }

  /// The body of `POST …/finalize_restore`; may be absent as a whole.
  public struct FinalizeRestoreRequest: Codable, Hashable, Sendable {
    /// The name that the replaced branch gets.
    public var name: String?
    /// Replaces a protected branch, too.
    public var force: Bool?

    public init(name: String? = nil, force: Bool? = nil) {
      self.name = name
      self.force = force
    }
  }

  /// The answer of `POST …/branches/{branch_id}/recover`.
  public struct BranchRecoverResponse: Codable, Hashable, Sendable {
    public var branch: Branch
    public var endpoints: [Endpoint]?

    public init(branch: Branch, endpoints: [Endpoint]?) {
      self.branch = branch
      self.endpoints = endpoints
    }
  }

  /// The answer of `POST /projects/{project_id}/recover`.
  public struct ProjectRecoverResponse: Codable, Hashable, Sendable {
    public var project: Project
    public var branches: [Branch]
    /// Branches that came back and cannot be opened; absent where there are none.
    public var damagedBranches: [DamagedBranch]?

    public init(
      project: Project, branches: [Branch], damagedBranches: [DamagedBranch]? = nil
    ) {
      self.project = project
      self.branches = branches
      self.damagedBranches = damagedBranches
    }

    enum CodingKeys: String, CodingKey {
      case project, branches
      case damagedBranches = "damaged_branches"
    }
  }

  /// A branch whose history is damaged.
  public struct DamagedBranch: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    /// What is wrong, with the name of the object.
    public var reason: String

    public init(id: String, name: String, reason: String) {
      self.id = id
      self.name = name
      self.reason = reason
    }
  }

  /// The answer of `GET …/schema`: one of the two, as `format` asked.
  public struct BranchSchemaResponse: Codable, Hashable, Sendable {
    public var sql: String?
    public var json: BranchSchema?

    public init(sql: String? = nil, json: BranchSchema? = nil) {
      self.sql = sql
      self.json = json
    }
  }

  /// The answer of `GET …/compare_schema`: a unified diff, empty where the two are equal.
  public struct BranchSchemaCompareResponse: Codable, Hashable, Sendable {
    public var diff: String?

    public init(diff: String?) { self.diff = diff }
  }

  /// A database's tables.
  public struct BranchSchema: Codable, Hashable, Sendable {
    public struct Table: Codable, Hashable, Sendable {
      public var schema: String
      public var name: String
      public var columns: [Column]
      public var constraints: [Constraint]?
    }

    public struct Column: Codable, Hashable, Sendable {
      public var name: String
      public var type: String
      public var nullable: Bool?
      public var generated: Bool?
    }

    public struct Constraint: Codable, Hashable, Sendable {
      /// `PRIMARY KEY`, `UNIQUE` or `FOREIGN KEY`.
      public var type: String
      public var columns: [String]
      public var name: String?
      public var referencedTable: ReferencedTable?

      enum CodingKeys: String, CodingKey {
        case type, columns, name
        case referencedTable = "referenced_table"
      }
    }

    public struct ReferencedTable: Codable, Hashable, Sendable {
      public var schema: String
      public var table: String
      public var columns: [String]
    }

    public var tables: [Table]

    public init(tables: [Table]) { self.tables = tables }
  }
}
