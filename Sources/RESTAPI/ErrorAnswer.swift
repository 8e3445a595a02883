import APITypes
import Catalog
import ControlPlane

/// An error as HTTP tells it; the only place that knows both.
struct ErrorAnswer: Sendable {
  var status: Int
  var code: String
  var message: String
  var retryAfterSeconds: Int?
  /// Whether the cause is ours and belongs into the log.
  var isDefect = false

  init(status: Int, code: String, message: String, retryAfterSeconds: Int? = nil) {
    self.status = status
    self.code = code
    self.message = message
    self.retryAfterSeconds = retryAfterSeconds
  }

  init(_ error: any Error) {
    switch error {
    case let error as ControlPlaneError:
      self.init(
        status: Self.status(error.code), code: error.code.rawValue, message: error.description)
      if status == 423 || status == 503 { retryAfterSeconds = 1 }
    case let error as TooManyRequests:
      self.init(
        status: 429, code: "rate_limited",
        message: "more than \(error.perMinute) requests in a minute",
        retryAfterSeconds: error.retryAfterSeconds)
    case let error as APICodingError:
      self.init(status: 400, code: "bad_value", message: error.description)
    case let error as NotBuilt:
      self.init(
        status: 501, code: "not_implemented",
        message: "'\(error.operationID)' is not built in this version: it belongs to \(error.area)")
    case let error as CatalogError where Self.known.contains(error.code):
      self.init(error)
    case let error as DumpError:
      self.init(error)
    case let error as ComputeFleetError where error.code == .temporary:
      self.init(
        status: 503, code: "unavailable", message: error.description, retryAfterSeconds: 1)
      isDefect = true
    case let error as ComputeFleetError:
      self.init(status: 500, code: "compute_failed", message: error.description)
      isDefect = true
    default:
      self.init(
        status: 500, code: "internal",
        message: "the request failed inside Exzo; the log of serve says why, by this request_id")
      isDefect = true
    }
  }

  /// Those of the catalog's that clients are told; all others are defects.
  private static let known: [CatalogError.Code] = [.unavailable, .diskFull, .badValue]

  private init(_ error: CatalogError) {
    switch error.code {
    case .badValue:
      self.init(status: 400, code: "bad_value", message: "a value of the request cannot be stored")
    case .diskFull:
      self.init(
        status: 507, code: "disk_full",
        message: "the disk of the metadata database is full: reading goes on, nothing can be "
          + "changed. HINT: make room where the data directory is, or where the server of "
          + "--metadata-url keeps its data; then it goes on by itself")
      isDefect = true
    default:
      self.init(
        status: 503, code: "unavailable",
        message: "the metadata database does not answer; try again", retryAfterSeconds: 1)
      isDefect = true
    }
  }

  private init(_ error: DumpError) {
    self.init(
      status: error.isTemporary ? 503 : 500, code: "dump_failed", message: error.description,
      retryAfterSeconds: error.isTemporary ? 1 : nil)
    isDefect = true
  }

  private static func status(_ code: ControlPlaneError.Code) -> Int {
    switch code {
    case .badValue, .settingNotSupported, .restorePointOutOfWindow, .restorePointAmbiguous,
      .branchIsAttached, .sourceRefused:
      400
    case .unauthorized: 401
    case .projectNotFound, .branchNotFound, .endpointNotFound, .operationNotFound, .roleNotFound,
      .databaseNotFound, .apiKeyNotFound, .accountNotFound, .planNotFound, .permissionNotFound,
      .routeNotFound, .snapshotNotFound, .dumpNotFound, .drillNotFound, .verificationNotFound,
      .ticketNotFound, .tableNotFound, .eventNotFound, .attachmentNotFound,
      .scheduleItemNotFound:
      404
    case .timeRangeNotAcceptable: 406
    case .branchAlreadyExists, .endpointAlreadyExists, .roleAlreadyExists, .databaseAlreadyExists,
      .accountAlreadyExists, .snapshotAlreadyExists, .attachmentAlreadyExists:
      409
    case .planTooSmall, .quotaExceeded, .confirmationRequired, .retentionNotPending: 412
    case .branchIsDefault, .branchIsProtected, .branchHasChildren, .roleIsProtected,
      .roleOwnsDatabases, .passwordNotStored, .endpointDisabled, .limitReached, .restoreNotPending,
      .notRecoverable, .dumpNotReady, .serverIsAttached, .addressNotAllowed, .branchNotFilled:
      412
    case .operationInProgress: 423
    case .computeFailed, .historyDamaged: 500
    case .unavailable, .unpublished, .queryNotRun: 503
    }
  }
}
