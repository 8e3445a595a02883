import Catalog

/// Which of the roles and databases that are noted for a branch it has.
///
/// A branch that follows a server has the databases of that server, and the role that sessions of its past use. Others
/// were noted by earlier versions, and nothing makes them there.
struct AttachedTenants {
  /// What the server said of itself; `nil` where the branch follows none.
  private let source: AttachmentRecord.Source?

  init(of branch: BranchRecord, _ tx: CatalogTransaction) throws {
    source = try tx.attachment(line: branch.lineID)?.source
  }

  func has(role: String) -> Bool { source == nil || role == ProjectService.defaultRole }

  func has(database: String) -> Bool { source?.databases.contains(database) ?? true }
}
