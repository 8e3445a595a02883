import Foundation

extension API {
  /// Whether sessions may write.
  public enum EndpointType: String, WireEnumeration {
    case readOnly = "read_only"
    case readWrite = "read_write"
  }

  /// Whether a compute runs behind an endpoint: `idle` is suspended and wakes on connect.
  public enum EndpointState: String, WireEnumeration {
    case `init`
    case active
    case idle
  }

  /// How pooled sessions share server connections.
  public enum EndpointPoolerMode: String, WireEnumeration {
    case transaction
  }

  /// Settings that a compute of this endpoint starts with.
  public struct EndpointSettings: Codable, Hashable, Sendable {
    public var pgSettings: [String: String]?
    public var pgbouncerSettings: [String: String]?
    public var preloadLibraries: PreloadLibraries?

    public init(
      pgSettings: [String: String]? = nil, pgbouncerSettings: [String: String]? = nil,
      preloadLibraries: PreloadLibraries? = nil
    ) {
      self.pgSettings = pgSettings
      self.pgbouncerSettings = pgbouncerSettings
      self.preloadLibraries = preloadLibraries
    }

    enum CodingKeys: String, CodingKey {
      case pgSettings = "pg_settings"
      case pgbouncerSettings = "pgbouncer_settings"
      case preloadLibraries = "preload_libraries"
    }
  }

  /// The address that clients connect to.
  public struct Endpoint: Codable, Hashable, Sendable {
    public var host: String
    public var id: String
    public var name: String?
    public var projectID: String
    public var branchID: String
    public var autoscalingLimitMinCU: Double
    public var autoscalingLimitMaxCU: Double
    public var regionID: String
    public var type: EndpointType
    public var currentState: EndpointState
    public var pendingState: EndpointState?
    public var settings: EndpointSettings
    public var poolerEnabled: Bool
    public var poolerMode: EndpointPoolerMode
    public var isDisabled: Bool
    public var passwordlessAccess: Bool
    public var lastActive: Date?
    public var creationSource: String
    public var createdAt: Date
    public var updatedAt: Date
    public var startedAt: Date?
    public var suspendedAt: Date?
    public var proxyHost: String
    public var suspendTimeoutSeconds: Int
    public var provisioner: String
    public var computeReleaseVersion: String?

    public init(
      host: String, id: String, name: String? = nil, projectID: String, branchID: String,
      autoscalingLimitMinCU: Double, autoscalingLimitMaxCU: Double, regionID: String,
      type: EndpointType, currentState: EndpointState, pendingState: EndpointState? = nil,
      settings: EndpointSettings, poolerEnabled: Bool, poolerMode: EndpointPoolerMode,
      isDisabled: Bool, passwordlessAccess: Bool, lastActive: Date? = nil, creationSource: String,
      createdAt: Date, updatedAt: Date, startedAt: Date? = nil, suspendedAt: Date? = nil,
      proxyHost: String, suspendTimeoutSeconds: Int, provisioner: String,
      computeReleaseVersion: String? = nil
    ) {
      self.host = host
      self.id = id
      self.name = name
      self.projectID = projectID
      self.branchID = branchID
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.regionID = regionID
      self.type = type
      self.currentState = currentState
      self.pendingState = pendingState
      self.settings = settings
      self.poolerEnabled = poolerEnabled
      self.poolerMode = poolerMode
      self.isDisabled = isDisabled
      self.passwordlessAccess = passwordlessAccess
      self.lastActive = lastActive
      self.creationSource = creationSource
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.startedAt = startedAt
      self.suspendedAt = suspendedAt
      self.proxyHost = proxyHost
      self.suspendTimeoutSeconds = suspendTimeoutSeconds
      self.provisioner = provisioner
      self.computeReleaseVersion = computeReleaseVersion
    }

    enum CodingKeys: String, CodingKey {
      case host, id, name, type, settings, provisioner
      case projectID = "project_id"
      case branchID = "branch_id"
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case regionID = "region_id"
      case currentState = "current_state"
      case pendingState = "pending_state"
      case poolerEnabled = "pooler_enabled"
      case poolerMode = "pooler_mode"
      case isDisabled = "disabled"
      case passwordlessAccess = "passwordless_access"
      case lastActive = "last_active"
      case creationSource = "creation_source"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
      case startedAt = "started_at"
      case suspendedAt = "suspended_at"
      case proxyHost = "proxy_host"
      case suspendTimeoutSeconds = "suspend_timeout_seconds"
      case computeReleaseVersion = "compute_release_version"
    }
  }

  /// The answer that carries one endpoint.
  public struct EndpointResponse: Codable, Hashable, Sendable {
    public var endpoint: Endpoint

    public init(endpoint: Endpoint) {
      self.endpoint = endpoint
    }
  }

  /// The answer that carries endpoints.
  public struct EndpointsResponse: Codable, Hashable, Sendable {
    public var endpoints: [Endpoint]

    public init(endpoints: [Endpoint]) {
      self.endpoints = endpoints
    }
  }

  /// An endpoint and the operations that the request started.
  public struct EndpointOperations: Codable, Hashable, Sendable {
    public var endpoint: Endpoint
    public var operations: [Operation]

    public init(endpoint: Endpoint, operations: [Operation]) {
      self.endpoint = endpoint
      self.operations = operations
    }
  }

  /// A connection string.
  public struct ConnectionURIResponse: Codable, Hashable, Sendable {
    public var uri: String

    public init(uri: String) {
      self.uri = uri
    }
  }

  /// The parts of a connection string.
  public struct ConnectionParameters: Codable, Hashable, Sendable {
    public var database: String
    public var password: String
    public var role: String
    public var host: String
    public var poolerHost: String

    public init(
      database: String, password: String, role: String, host: String, poolerHost: String
    ) {
      self.database = database
      self.password = password
      self.role = role
      self.host = host
      self.poolerHost = poolerHost
    }

    enum CodingKeys: String, CodingKey {
      case database, password, role, host
      case poolerHost = "pooler_host"
    }
  }

  /// A connection string and its parts.
  public struct ConnectionDetails: Codable, Hashable, Sendable {
    public var connectionURI: String
    public var connectionParameters: ConnectionParameters

    public init(connectionURI: String, connectionParameters: ConnectionParameters) {
      self.connectionURI = connectionURI
      self.connectionParameters = connectionParameters
    }

    enum CodingKeys: String, CodingKey {
      case connectionURI = "connection_uri"
      case connectionParameters = "connection_parameters"
    }
  }
}
