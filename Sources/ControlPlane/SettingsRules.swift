import APITypes
import Catalog

/// Which values of requests are honoured, and what is said of the others.
struct SettingsRules: Sendable {
  let installation: InstallationSettings

  /// A name for people: one line of text.
  static func name(_ field: String, _ value: String?, maximum: Int = 256) throws {
    guard let value else { return }
    guard (1...maximum).contains(value.unicodeScalars.count),
      !value.unicodeScalars.contains(where: breaksLine)
    else {
      throw ControlPlaneError.value(
        field, value, allowed: "1 to \(maximum) characters, none of them a control character")
    }
  }

  /// Whether it is a control character, or ends a line or a paragraph.
  private static func breaksLine(_ scalar: Unicode.Scalar) -> Bool {
    [.control, .lineSeparator, .paragraphSeparator].contains(scalar.properties.generalCategory)
  }

  /// PostgreSQL cuts names at 63 bytes (`NAMEDATALEN`), which would make two names one.
  static func identifier(_ field: String, _ value: String) throws {
    let isPlain = !value.unicodeScalars.contains(where: breaksLine)
    guard (1...63).contains(value.utf8.count), isPlain else {
      throw ControlPlaneError.value(
        field, value, allowed: "1 to 63 bytes of text without control characters")
    }
    // Clients shorten a path that ends in one of these to that of what holds it.
    guard value != ".", value != ".." else {
      throw ControlPlaneError.value(field, value, allowed: "a name other than '.' and '..'")
    }
  }

  /// As many as the API that clients know allows.
  static let annotationsLimit = 50

  static func annotations(_ field: String, _ values: [String: String]?) throws {
    guard let count = values?.count, count > annotationsLimit else { return }
    throw ControlPlaneError(
      .badValue, "'\(field)' has \(count) entries, must have at most \(annotationsLimit)")
  }

  static let reservedRoles: Set<String> = ["public", "none", "postgres"]
  static let reservedDatabases: Set<String> = ["postgres", "template0", "template1"]

  static func roleName(_ field: String, _ value: String) throws {
    try identifier(field, value)
    let folded = value.lowercased()
    guard !folded.hasPrefix("pg_"), !folded.hasPrefix("exzo_"), !reservedRoles.contains(folded)
    else {
      throw ControlPlaneError.value(
        field, value, allowed: "a name that is not reserved (pg_…, exzo_…, postgres …)")
    }
  }

  static func databaseName(_ field: String, _ value: String) throws {
    try identifier(field, value)
    guard !reservedDatabases.contains(value.lowercased()) else {
      throw ControlPlaneError.value(
        field, value, allowed: "a name that is not reserved (postgres, template0, template1)")
    }
  }

  static func retention(_ seconds: Int, _ plan: PlanRecord) throws {
    guard (0...plan.retentionSecondsMaximum).contains(seconds) else {
      throw ControlPlaneError.value(
        "project.history_retention_seconds", seconds,
        allowed: "0 to \(plan.retentionSecondsMaximum) on plan '\(plan.name)'")
    }
  }

  static func suspendTimeout(_ field: String, _ seconds: Int?) throws {
    guard let seconds else { return }
    guard (-1...604_800).contains(seconds) else {
      throw ControlPlaneError.value(
        field, seconds, allowed: "-1 (never), 0 (the default) or up to 604800 seconds")
    }
  }

  /// The smallest and largest size, completed where one is absent.
  static func sizes(
    _ field: String, _ minimum: Double?, _ maximum: Double?, default standard: ClosedRange<Double>,
    _ plan: PlanRecord
  ) throws -> ClosedRange<Double> {
    let top = min(ComputeSize.allowed.upperBound, plan.computeUnitsMaximum)
    let range = ComputeSize.allowed.lowerBound...top
    for (name, value) in [("min", minimum), ("max", maximum)] {
      guard let value else { continue }
      guard range.contains(value) else {
        throw ControlPlaneError.value(
          "\(field)autoscaling_limit_\(name)_cu", value,
          allowed: "\(range.lowerBound) to \(range.upperBound) on plan '\(plan.name)'")
      }
    }
    let low = minimum ?? min(standard.lowerBound, maximum ?? standard.lowerBound)
    let high = maximum ?? max(standard.upperBound, low)
    guard low <= high else {
      throw ControlPlaneError.value(
        "\(field)autoscaling_limit_min_cu", low,
        allowed: "at most autoscaling_limit_max_cu (\(high))")
    }
    return low...high
  }

  static func provisioner(_ field: String, _ value: String?) throws {
    guard let value, value != Presenter.provisioner else { return }
    throw ControlPlaneError.value(field, value, allowed: "'\(Presenter.provisioner)' or absent")
  }

  func region(_ field: String, _ value: String?) throws {
    guard let value, value != installation.regionID else { return }
    throw ControlPlaneError.value(field, value, allowed: "'\(installation.regionID)' or absent")
  }

  static func parameters(_ field: String, _ values: [String: String]?) throws {
    for (name, value) in values ?? [:] {
      guard let rule = ParameterRule.all[name.lowercased()] else {
        throw ControlPlaneError.unsupported(
          "\(field).pg_settings.\(name.prefix(64))",
          allowed: "settable are \(ParameterRule.all.keys.sorted().joined(separator: ", "))")
      }
      if let allowed = rule.refusal(of: value) {
        throw ControlPlaneError.value("\(field).pg_settings.\(name)", value, allowed: allowed)
      }
    }
  }

  static func endpointSettings(_ field: String, _ settings: API.EndpointSettings?) throws {
    guard let settings else { return }
    try parameters(field, settings.pgSettings)
    if settings.pgbouncerSettings?.isEmpty == false {
      throw ControlPlaneError.unsupported("\(field).pgbouncer_settings", allowed: "leave it out")
    }
    try preloadLibraries(field, settings.preloadLibraries)
  }

  static func preloadLibraries(_ field: String, _ value: API.PreloadLibraries?) throws {
    if value?.enabledLibraries?.isEmpty == false {
      throw ControlPlaneError.unsupported("\(field).preload_libraries", allowed: "leave it out")
    }
  }

  static func defaults(_ settings: API.DefaultEndpointSettings?, _ plan: PlanRecord) throws {
    guard let settings else { return }
    let field = "project.default_endpoint_settings"
    try parameters(field, settings.pgSettings)
    if settings.pgbouncerSettings?.isEmpty == false {
      throw ControlPlaneError.unsupported("\(field).pgbouncer_settings", allowed: "leave it out")
    }
    try suspendTimeout("\(field).suspend_timeout_seconds", settings.suspendTimeoutSeconds)
    _ = try sizes(
      "\(field).", settings.autoscalingLimitMinCU, settings.autoscalingLimitMaxCU,
      default: ComputeSize.standard...ComputeSize.standard, plan)
  }

  /// Values that ask for nothing (false, 0, an empty list) are kept; others that cannot be
  /// honoured are refused.
  static func project(_ settings: API.ProjectSettings?) throws {
    guard let settings else { return }
    try quota(settings.quota)
    _ = try AddressRules(settings.allowedIPs?.ips ?? [])
    let refused: [(Bool, String, String)] = [
      (settings.maintenanceWindow != nil, "maintenance_window", "leave it out"),
      (settings.blockPublicConnections == true, "block_public_connections", "false"),
      (settings.blockVpcConnections == true, "block_vpc_connections", "false"),
      (settings.auditLogLevel != nil, "audit_log_level", "leave it out"),
      (settings.hipaa == true, "hipaa", "false"),
      // No role may open a replication connection: its slot would hold WAL back without bound.
      (settings.enableLogicalReplication == true, "enable_logical_replication", "false"),
    ]
    for (isRefused, name, allowed) in refused where isRefused {
      throw ControlPlaneError.unsupported("project.settings.\(name)", allowed: allowed)
    }
    try preloadLibraries("project.settings", settings.preloadLibraries)
  }

  private static func quota(_ quota: API.ProjectQuota?) throws {
    let limits = [
      ("active_time_seconds", quota?.activeTimeSeconds),
      ("compute_time_seconds", quota?.computeTimeSeconds),
      ("written_data_bytes", quota?.writtenDataBytes),
      ("data_transfer_bytes", quota?.dataTransferBytes),
      ("logical_size_bytes", quota?.logicalSizeBytes),
    ]
    for case (let name, let limit?) in limits where limit < 0 {
      throw ControlPlaneError.value(
        "project.settings.quota.\(name)", limit, allowed: "0 (no limit) or more")
    }
  }
}
