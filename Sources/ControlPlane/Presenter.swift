import APITypes
import Catalog
import Foundation

/// Records as the API shows them.
struct Presenter: Sendable {
  let core: Core

  static let provisioner = "exzo-agent"
  static let platform = "exzo"
  static let creationSource = "console"
  /// How long a deleted branch or project can be recovered: 7 days.
  static let recoverySeconds: TimeInterval = 604_800
  /// Where no limit is set: 16 TB, in bytes and MB.
  private static let sizeLimit = 16 << 40

  private var proxyHost: String { core.settings.domain ?? core.settings.postgresHost }

  func operation(_ record: OperationRecord) -> API.Operation {
    let end = record.finishedAt ?? core.clock.now
    let duration = record.startedAt.map { end.timeIntervalSince($0) * 1000 } ?? 0
    var operation = API.Operation(
      id: record.id.rawValue, projectID: record.projectID.rawValue,
      branchID: record.branchID?.rawValue, endpointID: record.endpointID?.rawValue,
      action: record.action, status: record.status, error: record.error,
      failuresCount: record.failuresCount, retryAt: record.retryAt, createdAt: record.createdAt,
      updatedAt: record.updatedAt,
      totalDurationMilliseconds: Int(min(max(duration, 0), Double(Int32.max)).rounded()),
      kind: record.kind)
    operation.notes = record.notes.isEmpty ? nil : record.notes
    return operation
  }

  func project(
    _ record: ProjectRecord, owner: AccountRecord, usage: UsageTotals = UsageTotals()
  ) -> API.Project {
    let period = billingPeriod()
    return API.Project(
      dataStorageBytesHour: usage.historyByteHours, dataTransferBytes: usage.transferBytes,
      writtenDataBytes: usage.writtenBytes, computeTimeSeconds: usage.computeSeconds,
      activeTimeSeconds: usage.activeSeconds, cpuUsedSec: usage.computeSeconds,
      id: record.id.rawValue,
      platformID: Self.platform, regionID: core.settings.regionID, name: record.name,
      provisioner: Self.provisioner, defaultEndpointSettings: record.defaultEndpointSettings,
      settings: record.settings, pgVersion: record.pgVersion, proxyHost: proxyHost,
      branchLogicalSizeLimit: Self.sizeLimit >> 20, branchLogicalSizeLimitBytes: Self.sizeLimit,
      storePasswords: record.storePasswords, creationSource: Self.creationSource,
      historyRetentionSeconds: record.historyRetentionSeconds, createdAt: record.createdAt,
      updatedAt: record.updatedAt, syntheticStorageSize: usage.historyBytes,
      consumptionPeriodStart: period.start, consumptionPeriodEnd: period.end,
      ownerID: owner.id.rawValue, durability: API.Durability(rawValue: record.durability))
  }

  func listItem(
    _ record: ProjectRecord, usage: UsageTotals = UsageTotals()
  ) -> API.ProjectListItem {
    var item = API.ProjectListItem(
      id: record.id.rawValue, platformID: Self.platform, regionID: core.settings.regionID,
      name: record.name, provisioner: Self.provisioner,
      defaultEndpointSettings: record.defaultEndpointSettings, settings: record.settings,
      pgVersion: record.pgVersion, proxyHost: proxyHost,
      branchLogicalSizeLimit: Self.sizeLimit >> 20, branchLogicalSizeLimitBytes: Self.sizeLimit,
      storePasswords: record.storePasswords, activeTime: usage.activeSeconds,
      cpuUsedSec: usage.computeSeconds,
      creationSource: Self.creationSource, createdAt: record.createdAt, updatedAt: record.updatedAt,
      ownerID: record.accountID.rawValue,
      historyRetentionSeconds: record.historyRetentionSeconds, deletedAt: record.deletedAt,
      recoverableUntil: record.deletedAt?.addingTimeInterval(Self.recoverySeconds))
    item.syntheticStorageSize = usage.historyBytes
    return item
  }

  /// A page of projects, with what each used in the running period.
  func listItems(
    _ records: [ProjectRecord], _ tx: CatalogTransaction
  ) throws -> [API.ProjectListItem] {
    let usage = try tx.usage(ofProjects: records.map(\.id), since: billingPeriod().start)
    return records.map { listItem($0, usage: usage[$0.id] ?? UsageTotals()) }
  }

  func branch(
    _ record: BranchRecord, isDefault: Bool, usage: UsageTotals = UsageTotals(),
    window: API.RestoreWindow? = nil, logicalSize: Int? = nil
  ) -> API.Branch {
    let recovery = record.deletedAt.map {
      API.BranchRecovery(
        deletedAt: $0, recoverableUntil: $0.addingTimeInterval(Self.recoverySeconds),
        deletionMethod: record.deletionMethod == "ttl" ? .ttl : .user)
    }
    return API.Branch(
      id: record.id.rawValue, projectID: record.projectID.rawValue,
      parentID: record.parentID?.rawValue, parentLSN: record.parentLSN?.description,
      parentTimestamp: record.parentTimestamp, name: record.name,
      currentState: record.state == "ready" ? .ready : .`init`,
      pendingState: record.state == "init" ? .ready : nil, stateChangedAt: record.stateChangedAt,
      logicalSize: logicalSize ?? usage.logicalBytes, creationSource: Self.creationSource,
      isPrimary: isDefault,
      isDefault: isDefault, isProtected: record.isProtected, cpuUsedSec: usage.computeSeconds,
      computeTimeSeconds: usage.computeSeconds, activeTimeSeconds: usage.activeSeconds,
      writtenDataBytes: usage.writtenBytes, dataTransferBytes: usage.transferBytes,
      createdAt: record.createdAt, updatedAt: record.updatedAt,
      ttlIntervalSeconds: record.expiresAt.map { Int($0.timeIntervalSince(record.createdAt)) },
      expiresAt: record.expiresAt, lastResetAt: record.lastResetAt, initSource: record.initSource,
      restoreStatus: record.restoreStatus, restoredFrom: record.restoredFrom?.rawValue,
      restoredAs: record.restoredAs?.rawValue, recovery: recovery, restoreWindow: window)
  }

  func annotation(_ record: BranchRecord) -> API.Annotation {
    API.Annotation(
      object: API.AnnotationObject(type: "console/branch", id: record.id.rawValue),
      value: record.annotation, createdAt: record.annotatedAt, updatedAt: record.annotatedAt)
  }

  func endpoint(_ record: EndpointRecord) -> API.Endpoint {
    API.Endpoint(
      host: host(record.id), id: record.id.rawValue, name: record.name,
      projectID: record.projectID.rawValue, branchID: record.branchID.rawValue,
      autoscalingLimitMinCU: record.computeUnitsMinimum,
      autoscalingLimitMaxCU: record.computeUnitsMaximum, regionID: core.settings.regionID,
      type: record.type, currentState: record.state, pendingState: record.pendingState,
      settings: record.settings, poolerEnabled: core.settings.hasPooler, poolerMode: .transaction,
      isDisabled: record.isDisabled, passwordlessAccess: false, lastActive: record.lastActiveAt,
      creationSource: Self.creationSource, createdAt: record.createdAt, updatedAt: record.updatedAt,
      startedAt: record.startedAt, suspendedAt: record.suspendedAt, proxyHost: proxyHost,
      suspendTimeoutSeconds: record.suspendTimeoutSeconds, provisioner: Self.provisioner)
  }

  func role(_ record: RoleRecord, password: String? = nil) -> API.Role {
    API.Role(
      branchID: record.branchID.rawValue, name: record.name, password: password,
      isProtected: record.isProtected,
      authenticationMethod: record.canLogin ? "password" : "no_login", createdAt: record.createdAt,
      updatedAt: record.updatedAt)
  }

  func database(_ record: DatabaseRecord) -> API.Database {
    API.Database(
      id: record.id, branchID: record.branchID.rawValue, name: record.name,
      ownerName: record.ownerName, createdAt: record.createdAt, updatedAt: record.updatedAt)
  }

  /// The current calendar month in UTC.
  func billingPeriod() -> (start: Date, end: Date) {
    let period = BillingPeriod(holding: core.clock.now)
    return (period.start, period.end)
  }
}

extension Presenter {
  func host(_ endpoint: EndpointID) -> String {
    core.settings.domain.map { "\(endpoint).\($0)" } ?? core.settings.postgresHost
  }

  private func poolerHost(_ endpoint: EndpointID) -> String {
    core.settings.domain.map { "\(endpoint)-pooler.\($0)" } ?? core.settings.postgresHost
  }

  /// A string that connects as it stands.
  func connection(
    endpoint: EndpointID, role: String, password: String?, database: String, isPooled: Bool = false
  ) -> API.ConnectionDetails {
    let name = isPooled ? "\(endpoint)-pooler" : "\(endpoint)"
    let secret = password.map { ":" + Self.escape($0) } ?? ""
    let user = Self.escape(role) + secret
    let path = Self.escape(database)
    let uri: String
    if let domain = core.settings.domain {
      let port = core.settings.postgresPort == 5432 ? "" : ":\(core.settings.postgresPort)"
      uri = "postgresql://\(user)@\(name).\(domain)\(port)/\(path)?sslmode=require"
    } else {
      let address = "\(core.settings.postgresHost):\(core.settings.postgresPort)"
      uri =
        "postgresql://\(user)@\(address)/\(path)?sslmode=require&options=endpoint%3D\(name)"
    }
    return API.ConnectionDetails(
      connectionURI: uri,
      connectionParameters: API.ConnectionParameters(
        database: database, password: password ?? "", role: role, host: host(endpoint),
        poolerHost: poolerHost(endpoint)))
  }

  /// A string that connects to a moment of a branch.
  func pastConnection(
    branch: BranchID, role: String, password: String?, database: String,
    _ moment: PastSessions.Moment
  ) -> String {
    let option =
      switch moment {
      case .lsn(let text): "exzo_lsn:\(text)"
      case .timestamp(let text): "exzo_timestamp:\(text)"
      }
    let user = Self.escape(role) + (password.map { ":" + Self.escape($0) } ?? "")
    let port = core.settings.postgresPort
    let (address, options) =
      core.settings.domain.map { domain in
        ("\(branch).\(domain)" + (port == 5432 ? "" : ":\(port)"), option)
      } ?? ("\(core.settings.postgresHost):\(port)", "endpoint=\(branch) \(option)")
    return "postgresql://\(user)@\(address)/\(Self.escape(database))?sslmode=require"
      + "&options=\(Self.escape(options))"
  }

  /// Percent-encodes all but RFC 3986's unreserved characters.
  static func escape(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF")
    var result = ""
    for byte in text.utf8 {
      let character = Character(Unicode.Scalar(byte))
      if byte < 0x80, character.isLetter || character.isNumber || "-._~".contains(character) {
        result.append(character)
      } else {
        result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
      }
    }
    return result
  }
}
