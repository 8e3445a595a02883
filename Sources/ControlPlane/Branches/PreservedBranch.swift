import APITypes
import Catalog

/// What a branch was until now, as a branch of its own beside it.
struct PreservedBranch {
  private let core: Core
  private let source: BranchID
  var row: BranchRecord

  init(of branch: BranchRecord, as id: BranchID, _ core: Core) {
    self.core = core
    source = branch.id
    let now = core.clock.now
    row = branch
    row.id = id
    row.name = "\(branch.name) until \(RFC3339.text(now))"
    row.isProtected = false
    row.expiresAt = nil
    row.annotation = [:]
    row.annotatedAt = nil
    row.createdAt = now
    row.updatedAt = now
    row.preservedFrom = branch.id
  }

  /// Inserts it, with the roles and databases that the branch has.
  /// - Throws: ``ControlPlaneError`` `.branchAlreadyExists`.
  func insert(_ tx: CatalogTransaction) throws {
    try BranchService.unique(row.name) { try tx.insert(row) }
    let copy = TenantCopy(core: core, tx: tx, source: source, target: row.id)
    try copy.roles()
    try copy.databases()
  }
}
