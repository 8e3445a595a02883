import Foundation

extension API {
  /// The answer that carries one branch.
  public struct BranchResponse: Codable, Hashable, Sendable {
    public var branch: Branch
    public var annotation: Annotation?

    public init(branch: Branch, annotation: Annotation? = nil) {
      self.branch = branch
      self.annotation = annotation
    }
  }

  /// A branch and the operations that the request started.
  public struct BranchOperations: Codable, Hashable, Sendable {
    public var branch: Branch
    public var operations: [Operation]

    public init(branch: Branch, operations: [Operation]) {
      self.branch = branch
      self.operations = operations
    }
  }

  /// One page of branches, and their annotations by branch id.
  public struct BranchListResponse: Codable, Hashable, Sendable {
    public var branches: [Branch]
    public var annotations: [String: Annotation]
    public var pagination: CursorPagination?

    public init(
      branches: [Branch], annotations: [String: Annotation], pagination: CursorPagination? = nil
    ) {
      self.branches = branches
      self.annotations = annotations
      self.pagination = pagination
    }
  }

  /// How many branches a project has.
  public struct BranchesCountResponse: Codable, Hashable, Sendable {
    public var count: Int

    public init(count: Int) {
      self.count = count
    }
  }

  /// The answer of `POST …/branches`.
  public struct CreatedBranch: Codable, Hashable, Sendable {
    public var branch: Branch
    public var endpoints: [Endpoint]
    public var operations: [Operation]
    public var roles: [Role]
    public var databases: [Database]
    public var connectionURIs: [ConnectionDetails]?

    public init(
      branch: Branch, endpoints: [Endpoint], operations: [Operation], roles: [Role],
      databases: [Database], connectionURIs: [ConnectionDetails]? = nil
    ) {
      self.branch = branch
      self.endpoints = endpoints
      self.operations = operations
      self.roles = roles
      self.databases = databases
      self.connectionURIs = connectionURIs
    }

    enum CodingKeys: String, CodingKey {
      case branch, endpoints, operations, roles, databases
      case connectionURIs = "connection_uris"
    }
  }
}
