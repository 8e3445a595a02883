extension CatalogTransaction {
  /// Removes the row; what it was stays known (``TombstoneRecord``).
  public func deleteRole(_ name: String, of branch: BranchID) throws {
    guard let role = try role(name, of: branch) else { return }
    try run(
      "DELETE FROM exzo.roles WHERE branch_id = $1 AND name = $2", .text(branch.rawValue),
      .text(name))
    try insertTombstone(TombstoneRecord(role))
  }

  /// As ``deleteRole(_:of:)``.
  public func deleteDatabase(_ id: Int) throws {
    let found: DatabaseRecord? = try first(where: "t.id = $1", .init(id))
    guard let database = found else { return }
    try run("DELETE FROM exzo.databases WHERE id = $1", .init(id))
    try insertTombstone(TombstoneRecord(database))
  }

  /// A role that was deleted, gone from its computes or not; `nil` where one of that name lives or none
  /// ever did.
  public func deletedRole(_ name: String, of branch: BranchID) throws -> RoleRecord? {
    if let role = try role(name, of: branch) { return role.isDropped ? role : nil }
    return try tombstone(.role, name, branch)?.role
  }

  /// As ``deletedRole(_:of:)``.
  public func deletedDatabase(_ name: String, of branch: BranchID) throws -> DatabaseRecord? {
    if let database = try database(name, of: branch) { return database.isDropped ? database : nil }
    return try tombstone(.database, name, branch)?.database
  }

  private func tombstone(
    _ kind: TombstoneRecord.Kind, _ name: String, _ branch: BranchID
  ) throws -> TombstoneRecord? {
    try first(
      where: "t.branch_id = $1 AND t.kind = $2 AND t.name = $3", .text(branch.rawValue),
      .text(kind.rawValue), .text(name))
  }

  private func insertTombstone(_ tombstone: TombstoneRecord) throws {
    try run(
      "DELETE FROM exzo.tombstones WHERE branch_id = $1 AND kind = $2 AND name = $3",
      .text(tombstone.branchID.rawValue), .text(tombstone.kind.rawValue), .text(tombstone.name))
    try insert(tombstone)
  }
}
