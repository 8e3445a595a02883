/// Why a request was refused. The codes are stable: clients, the CLI's exit status and the proxy
/// rely on them.
public struct ControlPlaneError: Error, Sendable, CustomStringConvertible, Equatable {
  /// All codes of this target, in one place. The raw value is what goes over the wire.
  public enum Code: String, Sendable, CaseIterable {
    case badValue = "bad_value"
    case settingNotSupported = "setting_not_supported"
    case restorePointOutOfWindow = "restore_point_out_of_window"
    case restorePointAmbiguous = "restore_point_ambiguous"
    case unauthorized = "unauthorized"
    case projectNotFound = "project_not_found"
    case branchNotFound = "branch_not_found"
    case endpointNotFound = "endpoint_not_found"
    case operationNotFound = "operation_not_found"
    case roleNotFound = "role_not_found"
    case databaseNotFound = "database_not_found"
    case apiKeyNotFound = "api_key_not_found"
    case snapshotNotFound = "snapshot_not_found"
    case dumpNotFound = "dump_not_found"
    case scheduleItemNotFound = "schedule_item_not_found"
    case dumpNotReady = "dump_not_ready"
    case restoreNotPending = "restore_not_pending"
    case notRecoverable = "not_recoverable"
    case accountNotFound = "account_not_found"
    case planNotFound = "plan_not_found"
    case permissionNotFound = "permission_not_found"
    case ticketNotFound = "ticket_not_found"
    case tableNotFound = "table_not_found"
    case eventNotFound = "event_not_found"
    case queryNotRun = "query_not_run"
    case routeNotFound = "route_not_found"
    case branchAlreadyExists = "branch_already_exists"
    case endpointAlreadyExists = "endpoint_already_exists"
    case roleAlreadyExists = "role_already_exists"
    case databaseAlreadyExists = "database_already_exists"
    case accountAlreadyExists = "account_already_exists"
    case timeRangeNotAcceptable = "time_range_not_acceptable"
    case planTooSmall = "plan_too_small"
    case addressNotAllowed = "address_not_allowed"
    case snapshotAlreadyExists = "snapshot_already_exists"
    case quotaExceeded = "quota_exceeded"
    case confirmationRequired = "confirmation_required"
    case retentionNotPending = "retention_not_pending"
    case branchIsDefault = "branch_is_default"
    case branchIsProtected = "branch_is_protected"
    case branchHasChildren = "branch_has_children"
    /// A `schema-only` branch that could not be filled.
    case branchNotFilled = "branch_not_filled"
    case roleIsProtected = "role_is_protected"
    case roleOwnsDatabases = "role_owns_databases"
    case passwordNotStored = "password_not_stored"
    case endpointDisabled = "endpoint_disabled"
    case limitReached = "limit_reached"
    case operationInProgress = "operation_in_progress"
    case computeFailed = "compute_failed"
    case unavailable = "unavailable"
    case unpublished = "not_in_object_store_yet"
    case historyDamaged = "history_damaged"
    /// The branch follows a server elsewhere and is written by nobody else.
    case branchIsAttached = "branch_is_attached"
    case serverIsAttached = "server_is_attached"
    case sourceRefused = "source_refused"
    case attachmentNotFound = "attachment_not_found"
    case attachmentAlreadyExists = "attachment_already_exists"
    case drillNotFound = "drill_not_found"
    case verificationNotFound = "verification_not_found"
  }

  public var code: Code
  /// What was attempted, on what, why it was refused.
  public var message: String
  /// What to do next.
  public var hint: String?

  public init(_ code: Code, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.map { "\(message). HINT: \($0)" } ?? message }

  /// A value that is not allowed.
  static func value(_ field: String, _ found: some Any, allowed: String) -> ControlPlaneError {
    ControlPlaneError(.badValue, "'\(field)' is '\("\(found)".prefix(64))', must be \(allowed)")
  }

  /// A setting that this version knows and cannot honour.
  static func unsupported(_ field: String, allowed: String) -> ControlPlaneError {
    ControlPlaneError(
      .settingNotSupported, "'\(field)' cannot be honoured by this version", hint: allowed)
  }
}
