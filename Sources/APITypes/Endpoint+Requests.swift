import Foundation

extension API {
  /// What a new endpoint is to be.
  public struct NewEndpoint: Codable, Hashable, Sendable {
    public var branchID: String
    public var regionID: String?
    public var type: EndpointType
    public var settings: EndpointSettings?
    public var autoscalingLimitMinCU: Double?
    public var autoscalingLimitMaxCU: Double?
    public var provisioner: String?
    public var poolerEnabled: Bool?
    public var poolerMode: EndpointPoolerMode?
    public var isDisabled: Bool?
    public var passwordlessAccess: Bool?
    public var suspendTimeoutSeconds: Int?
    public var name: String?

    public init(
      branchID: String, regionID: String? = nil, type: EndpointType,
      settings: EndpointSettings? = nil, autoscalingLimitMinCU: Double? = nil,
      autoscalingLimitMaxCU: Double? = nil, provisioner: String? = nil, poolerEnabled: Bool? = nil,
      poolerMode: EndpointPoolerMode? = nil, isDisabled: Bool? = nil,
      passwordlessAccess: Bool? = nil, suspendTimeoutSeconds: Int? = nil, name: String? = nil
    ) {
      self.branchID = branchID
      self.regionID = regionID
      self.type = type
      self.settings = settings
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.provisioner = provisioner
      self.poolerEnabled = poolerEnabled
      self.poolerMode = poolerMode
      self.isDisabled = isDisabled
      self.passwordlessAccess = passwordlessAccess
      self.suspendTimeoutSeconds = suspendTimeoutSeconds
      self.name = name
    }

    enum CodingKeys: String, CodingKey {
      case type, settings, provisioner, name
      case branchID = "branch_id"
      case regionID = "region_id"
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case poolerEnabled = "pooler_enabled"
      case poolerMode = "pooler_mode"
      case isDisabled = "disabled"
      case passwordlessAccess = "passwordless_access"
      case suspendTimeoutSeconds = "suspend_timeout_seconds"
    }
  }

  /// The body of `POST …/endpoints`.
  public struct EndpointCreateRequest: Codable, Hashable, Sendable {
    public var endpoint: NewEndpoint

    public init(endpoint: NewEndpoint) {
      self.endpoint = endpoint
    }
  }

  /// What is to change; absent fields stay.
  public struct EndpointUpdate: Codable, Hashable, Sendable {
    public var branchID: String?
    public var autoscalingLimitMinCU: Double?
    public var autoscalingLimitMaxCU: Double?
    public var provisioner: String?
    public var settings: EndpointSettings?
    public var poolerEnabled: Bool?
    public var poolerMode: EndpointPoolerMode?
    public var isDisabled: Bool?
    public var passwordlessAccess: Bool?
    public var suspendTimeoutSeconds: Int?
    public var name: String?

    public init(
      branchID: String? = nil, autoscalingLimitMinCU: Double? = nil,
      autoscalingLimitMaxCU: Double? = nil, provisioner: String? = nil,
      settings: EndpointSettings? = nil, poolerEnabled: Bool? = nil,
      poolerMode: EndpointPoolerMode? = nil, isDisabled: Bool? = nil,
      passwordlessAccess: Bool? = nil, suspendTimeoutSeconds: Int? = nil, name: String? = nil
    ) {
      self.branchID = branchID
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.provisioner = provisioner
      self.settings = settings
      self.poolerEnabled = poolerEnabled
      self.poolerMode = poolerMode
      self.isDisabled = isDisabled
      self.passwordlessAccess = passwordlessAccess
      self.suspendTimeoutSeconds = suspendTimeoutSeconds
      self.name = name
    }

    enum CodingKeys: String, CodingKey {
      case provisioner, settings, name
      case branchID = "branch_id"
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case poolerEnabled = "pooler_enabled"
      case poolerMode = "pooler_mode"
      case isDisabled = "disabled"
      case passwordlessAccess = "passwordless_access"
      case suspendTimeoutSeconds = "suspend_timeout_seconds"
    }
  }

  /// The body of `PATCH …/endpoints/{endpoint_id}`.
  public struct EndpointUpdateRequest: Codable, Hashable, Sendable {
    public var endpoint: EndpointUpdate

    public init(endpoint: EndpointUpdate) {
      self.endpoint = endpoint
    }
  }
}
