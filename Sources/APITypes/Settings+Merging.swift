// A change names what changes; what it does not name stays. A map of PostgreSQL settings is one value: it
// is replaced as a whole, so that a setting can be taken out.

extension API.ProjectSettings {
  public func merging(_ change: Self) -> Self {
    var merged = self
    if let quota = change.quota { merged.quota = (self.quota ?? .init()).merging(quota) }
    if let rules = change.allowedIPs {
      merged.allowedIPs = (allowedIPs ?? .init()).merging(rules)
    }
    merged.enableLogicalReplication = change.enableLogicalReplication ?? enableLogicalReplication
    merged.maintenanceWindow = change.maintenanceWindow ?? maintenanceWindow
    merged.blockPublicConnections = change.blockPublicConnections ?? blockPublicConnections
    merged.blockVpcConnections = change.blockVpcConnections ?? blockVpcConnections
    merged.auditLogLevel = change.auditLogLevel ?? auditLogLevel
    merged.hipaa = change.hipaa ?? hipaa
    merged.preloadLibraries = change.preloadLibraries ?? preloadLibraries
    return merged
  }
}

extension API.ProjectQuota {
  func merging(_ change: Self) -> Self {
    Self(
      activeTimeSeconds: change.activeTimeSeconds ?? activeTimeSeconds,
      computeTimeSeconds: change.computeTimeSeconds ?? computeTimeSeconds,
      writtenDataBytes: change.writtenDataBytes ?? writtenDataBytes,
      dataTransferBytes: change.dataTransferBytes ?? dataTransferBytes,
      logicalSizeBytes: change.logicalSizeBytes ?? logicalSizeBytes)
  }
}

extension API.AllowedIPs {
  func merging(_ change: Self) -> Self {
    Self(
      ips: change.ips ?? ips,
      protectedBranchesOnly: change.protectedBranchesOnly ?? protectedBranchesOnly)
  }
}

extension API.DefaultEndpointSettings {
  public func merging(_ change: Self) -> Self {
    Self(
      pgSettings: change.pgSettings ?? pgSettings,
      pgbouncerSettings: change.pgbouncerSettings ?? pgbouncerSettings,
      autoscalingLimitMinCU: change.autoscalingLimitMinCU ?? autoscalingLimitMinCU,
      autoscalingLimitMaxCU: change.autoscalingLimitMaxCU ?? autoscalingLimitMaxCU,
      suspendTimeoutSeconds: change.suspendTimeoutSeconds ?? suspendTimeoutSeconds)
  }
}

extension API.EndpointSettings {
  public func merging(_ change: Self) -> Self {
    Self(
      pgSettings: change.pgSettings ?? pgSettings,
      pgbouncerSettings: change.pgbouncerSettings ?? pgbouncerSettings,
      preloadLibraries: change.preloadLibraries ?? preloadLibraries)
  }
}
