import Foundation

extension API {
  /// A role of a branch; the password is told only when it is made or asked for.
  public struct Role: Codable, Hashable, Sendable {
    public var branchID: String
    public var name: String
    public var password: String?
    public var isProtected: Bool?
    public var authenticationMethod: String?
    public var createdAt: Date
    public var updatedAt: Date

    public init(
      branchID: String, name: String, password: String? = nil, isProtected: Bool? = nil,
      authenticationMethod: String? = nil, createdAt: Date, updatedAt: Date
    ) {
      self.branchID = branchID
      self.name = name
      self.password = password
      self.isProtected = isProtected
      self.authenticationMethod = authenticationMethod
      self.createdAt = createdAt
      self.updatedAt = updatedAt
    }

    enum CodingKeys: String, CodingKey {
      case name, password
      case branchID = "branch_id"
      case isProtected = "protected"
      case authenticationMethod = "authentication_method"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
    }
  }

  /// A role to make.
  public struct NewRole: Codable, Hashable, Sendable {
    public var name: String
    public var noLogin: Bool?

    public init(name: String, noLogin: Bool? = nil) {
      self.name = name
      self.noLogin = noLogin
    }

    enum CodingKeys: String, CodingKey {
      case name
      case noLogin = "no_login"
    }
  }

  /// The body of `POST …/roles`.
  public struct RoleCreateRequest: Codable, Hashable, Sendable {
    public var role: NewRole

    public init(role: NewRole) {
      self.role = role
    }
  }

  /// The answer that carries one role.
  public struct RoleResponse: Codable, Hashable, Sendable {
    public var role: Role

    public init(role: Role) {
      self.role = role
    }
  }

  /// The answer that carries roles.
  public struct RolesResponse: Codable, Hashable, Sendable {
    public var roles: [Role]

    public init(roles: [Role]) {
      self.roles = roles
    }
  }

  /// A role and the operations that the request started.
  public struct RoleOperations: Codable, Hashable, Sendable {
    public var role: Role
    public var operations: [Operation]

    public init(role: Role, operations: [Operation]) {
      self.role = role
      self.operations = operations
    }
  }

  /// A role's password in plain text.
  public struct RolePasswordResponse: Codable, Hashable, Sendable {
    public var password: String

    public init(password: String) {
      self.password = password
    }
  }
}
