import Foundation

extension API {
  /// An endpoint to make together with a branch.
  public struct BranchEndpointOptions: Codable, Hashable, Sendable {
    public var type: EndpointType
    public var settings: EndpointSettings?
    public var autoscalingLimitMinCU: Double?
    public var autoscalingLimitMaxCU: Double?
    public var provisioner: String?
    public var suspendTimeoutSeconds: Int?

    public init(
      type: EndpointType, settings: EndpointSettings? = nil, autoscalingLimitMinCU: Double? = nil,
      autoscalingLimitMaxCU: Double? = nil, provisioner: String? = nil,
      suspendTimeoutSeconds: Int? = nil
    ) {
      self.type = type
      self.settings = settings
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.provisioner = provisioner
      self.suspendTimeoutSeconds = suspendTimeoutSeconds
    }

    enum CodingKeys: String, CodingKey {
      case type, settings, provisioner
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case suspendTimeoutSeconds = "suspend_timeout_seconds"
    }
  }

  /// Where a new branch starts; everything absent means the head of the default branch.
  public struct NewBranch: Codable, Hashable, Sendable {
    public var parentID: String?
    public var name: String?
    public var parentLSN: String?
    public var parentTimestamp: Date?
    public var isProtected: Bool?
    public var archived: Bool?
    public var initSource: String?
    public var expiresAt: Date?

    public init(
      parentID: String? = nil, name: String? = nil, parentLSN: String? = nil,
      parentTimestamp: Date? = nil, isProtected: Bool? = nil, archived: Bool? = nil,
      initSource: String? = nil, expiresAt: Date? = nil
    ) {
      self.parentID = parentID
      self.name = name
      self.parentLSN = parentLSN
      self.parentTimestamp = parentTimestamp
      self.isProtected = isProtected
      self.archived = archived
      self.initSource = initSource
      self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
      case name, archived
      case parentID = "parent_id"
      case parentLSN = "parent_lsn"
      case parentTimestamp = "parent_timestamp"
      case isProtected = "protected"
      case initSource = "init_source"
      case expiresAt = "expires_at"
    }
  }

  /// The body of `POST …/branches`; may be absent as a whole.
  public struct BranchCreateRequest: Codable, Hashable, Sendable {
    public var endpoints: [BranchEndpointOptions]?
    public var branch: NewBranch?
    public var annotationValue: [String: String]?

    public init(
      endpoints: [BranchEndpointOptions]? = nil, branch: NewBranch? = nil,
      annotationValue: [String: String]? = nil
    ) {
      self.endpoints = endpoints
      self.branch = branch
      self.annotationValue = annotationValue
    }

    enum CodingKeys: String, CodingKey {
      case endpoints, branch
      case annotationValue = "annotation_value"
    }
  }

  /// What is to change; absent fields stay, a null `expires_at` removes the expiry.
  public struct BranchUpdate: Codable, Hashable, Sendable {
    public var name: String?
    public var isProtected: Bool?
    public var expiresAt: Patch<Date>

    public init(
      name: String? = nil, isProtected: Bool? = nil, expiresAt: Patch<Date> = .absent
    ) {
      self.name = name
      self.isProtected = isProtected
      self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
      case name
      case isProtected = "protected"
      case expiresAt = "expires_at"
    }
  }

  /// The body of `PATCH …/branches/{branch_id}`.
  public struct BranchUpdateRequest: Codable, Hashable, Sendable {
    public var branch: BranchUpdate

    public init(branch: BranchUpdate) {
      self.branch = branch
    }
  }
}
