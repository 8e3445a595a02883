import APITypes
import Foundation

extension API.NewBranch {
  /// A branch of `parent` at `moment`; head for nil.
  public init(
    name: String?, parentID: String?, moment: MomentReference.Moment?, isProtected: Bool,
    expiresAt: Date?
  ) {
    self.init(
      parentID: parentID, name: name, isProtected: isProtected ? true : nil, expiresAt: expiresAt)
    switch moment {
    case .lsn(let lsn): parentLSN = lsn
    case .timestamp(let date): parentTimestamp = date
    case nil: break
    }
  }
}

extension API.BranchRestoreRequest {
  /// The state of `sourceBranchID` at `moment`; head for nil.
  public init(
    sourceBranchID: String, moment: MomentReference.Moment?, preserveUnderName: String?,
    force: Bool
  ) {
    self.init(
      sourceBranchID: sourceBranchID, preserveUnderName: preserveUnderName,
      force: force ? true : nil)
    switch moment {
    case .lsn(let lsn): sourceLSN = lsn
    case .timestamp(let date): sourceTimestamp = date
    case nil: break
    }
  }
}
