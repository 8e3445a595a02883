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

/// The body of `POST …/branches/{b}/restore`.
public struct BranchRestoreBody: Codable, Sendable, Equatable {
  public var sourceBranchID: String
  public var sourceLSN: String?
  public var sourceTimestamp: Date?
  public var preserveUnderName: String?
  public var force: Bool?

  public init(
    sourceBranchID: String, moment: MomentReference.Moment?, preserveUnderName: String?,
    force: Bool
  ) {
    self.sourceBranchID = sourceBranchID
    self.preserveUnderName = preserveUnderName
    self.force = force ? true : nil
    switch moment {
    case .lsn(let lsn): sourceLSN = lsn
    case .timestamp(let date): sourceTimestamp = date
    case nil: break
    }
  }

  enum CodingKeys: String, CodingKey {
    case force
    case sourceBranchID = "source_branch_id"
    case sourceLSN = "source_lsn"
    case sourceTimestamp = "source_timestamp"
    case preserveUnderName = "preserve_under_name"
  }
}
