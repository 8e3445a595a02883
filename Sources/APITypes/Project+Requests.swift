import Foundation

extension API {
  /// The first branch of a new project; absent fields take the defaults of the contract.
  public struct NewProjectBranch: Codable, Hashable, Sendable {
    public var name: String?
    public var roleName: String?
    public var databaseName: String?
    public var annotations: [String: String]?

    public init(
      name: String? = nil, roleName: String? = nil, databaseName: String? = nil,
      annotations: [String: String]? = nil
    ) {
      self.name = name
      self.roleName = roleName
      self.databaseName = databaseName
      self.annotations = annotations
    }

    enum CodingKeys: String, CodingKey {
      case name, annotations
      case roleName = "role_name"
      case databaseName = "database_name"
    }
  }

  /// What a new project is to be; every field is optional.
  public struct NewProject: Codable, Hashable, Sendable {
    public var settings: ProjectSettings?
    public var name: String?
    public var branch: NewProjectBranch?
    public var autoscalingLimitMinCU: Double?
    public var autoscalingLimitMaxCU: Double?
    public var provisioner: String?
    public var regionID: String?
    public var defaultEndpointSettings: DefaultEndpointSettings?
    public var pgVersion: Int?
    public var storePasswords: Bool?
    public var historyRetentionSeconds: Int?
    public var orgID: String?
    public var durability: Durability?

    public init(
      settings: ProjectSettings? = nil, name: String? = nil, branch: NewProjectBranch? = nil,
      autoscalingLimitMinCU: Double? = nil, autoscalingLimitMaxCU: Double? = nil,
      provisioner: String? = nil, regionID: String? = nil,
      defaultEndpointSettings: DefaultEndpointSettings? = nil, pgVersion: Int? = nil,
      storePasswords: Bool? = nil, historyRetentionSeconds: Int? = nil, orgID: String? = nil,
      durability: Durability? = nil
    ) {
      self.settings = settings
      self.name = name
      self.branch = branch
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.provisioner = provisioner
      self.regionID = regionID
      self.defaultEndpointSettings = defaultEndpointSettings
      self.pgVersion = pgVersion
      self.storePasswords = storePasswords
      self.historyRetentionSeconds = historyRetentionSeconds
      self.orgID = orgID
      self.durability = durability
    }

    enum CodingKeys: String, CodingKey {
      case settings, name, branch, provisioner, durability
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case regionID = "region_id"
      case defaultEndpointSettings = "default_endpoint_settings"
      case pgVersion = "pg_version"
      case storePasswords = "store_passwords"
      case historyRetentionSeconds = "history_retention_seconds"
      case orgID = "org_id"
    }
  }

  /// The body of `POST /projects`.
  public struct ProjectCreateRequest: Codable, Hashable, Sendable {
    public var project: NewProject

    public init(project: NewProject) {
      self.project = project
    }
  }

  /// What is to change; absent fields stay.
  public struct ProjectUpdate: Codable, Hashable, Sendable {
    public var settings: ProjectSettings?
    public var name: String?
    public var defaultEndpointSettings: DefaultEndpointSettings?
    public var historyRetentionSeconds: Int?
    public var durability: Durability?

    public init(
      settings: ProjectSettings? = nil, name: String? = nil,
      defaultEndpointSettings: DefaultEndpointSettings? = nil, historyRetentionSeconds: Int? = nil,
      durability: Durability? = nil
    ) {
      self.settings = settings
      self.name = name
      self.defaultEndpointSettings = defaultEndpointSettings
      self.historyRetentionSeconds = historyRetentionSeconds
      self.durability = durability
    }

    enum CodingKeys: String, CodingKey {
      case settings, name, durability
      case defaultEndpointSettings = "default_endpoint_settings"
      case historyRetentionSeconds = "history_retention_seconds"
    }
  }

  /// The body of `PATCH /projects/{project_id}`.
  public struct ProjectUpdateRequest: Codable, Hashable, Sendable {
    public var project: ProjectUpdate

    public init(project: ProjectUpdate) {
      self.project = project
    }
  }

  /// The answer of `POST /projects`.
  public struct CreatedProject: Codable, Hashable, Sendable {
    public var project: Project
    public var connectionURIs: [ConnectionDetails]
    public var roles: [Role]
    public var databases: [Database]
    public var operations: [Operation]
    public var branch: Branch
    public var endpoints: [Endpoint]

    public init(
      project: Project, connectionURIs: [ConnectionDetails], roles: [Role], databases: [Database],
      operations: [Operation], branch: Branch, endpoints: [Endpoint]
    ) {
      self.project = project
      self.connectionURIs = connectionURIs
      self.roles = roles
      self.databases = databases
      self.operations = operations
      self.branch = branch
      self.endpoints = endpoints
    }

    enum CodingKeys: String, CodingKey {
      case project, roles, databases, operations, branch, endpoints
      case connectionURIs = "connection_uris"
    }
  }
}
