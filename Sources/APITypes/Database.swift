import Foundation

extension API {
  /// A database of a branch.
  public struct Database: Codable, Hashable, Sendable {
    public var id: Int
    public var branchID: String
    public var name: String
    public var ownerName: String
    public var createdAt: Date
    public var updatedAt: Date

    public init(
      id: Int, branchID: String, name: String, ownerName: String, createdAt: Date, updatedAt: Date
    ) {
      self.id = id
      self.branchID = branchID
      self.name = name
      self.ownerName = ownerName
      self.createdAt = createdAt
      self.updatedAt = updatedAt
    }

    enum CodingKeys: String, CodingKey {
      case id, name
      case branchID = "branch_id"
      case ownerName = "owner_name"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
    }
  }

  /// A database to make.
  public struct NewDatabase: Codable, Hashable, Sendable {
    public var name: String
    public var ownerName: String

    public init(name: String, ownerName: String) {
      self.name = name
      self.ownerName = ownerName
    }

    enum CodingKeys: String, CodingKey {
      case name
      case ownerName = "owner_name"
    }
  }

  /// The body of `POST …/databases`.
  public struct DatabaseCreateRequest: Codable, Hashable, Sendable {
    public var database: NewDatabase

    public init(database: NewDatabase) {
      self.database = database
    }
  }

  /// What is to change; absent fields stay.
  public struct DatabaseUpdate: Codable, Hashable, Sendable {
    public var name: String?
    public var ownerName: String?

    public init(name: String? = nil, ownerName: String? = nil) {
      self.name = name
      self.ownerName = ownerName
    }

    enum CodingKeys: String, CodingKey {
      case name
      case ownerName = "owner_name"
    }
  }

  /// The body of `PATCH …/databases/{database_name}`.
  public struct DatabaseUpdateRequest: Codable, Hashable, Sendable {
    public var database: DatabaseUpdate

    public init(database: DatabaseUpdate) {
      self.database = database
    }
  }

  /// The answer that carries one database.
  public struct DatabaseResponse: Codable, Hashable, Sendable {
    public var database: Database

    public init(database: Database) {
      self.database = database
    }
  }

  /// The answer that carries databases.
  public struct DatabasesResponse: Codable, Hashable, Sendable {
    public var databases: [Database]

    public init(databases: [Database]) {
      self.databases = databases
    }
  }

  /// A database and the operations that the request started.
  public struct DatabaseOperations: Codable, Hashable, Sendable {
    public var database: Database
    public var operations: [Operation]

    public init(database: Database, operations: [Operation]) {
      self.database = database
      self.operations = operations
    }
  }
}
