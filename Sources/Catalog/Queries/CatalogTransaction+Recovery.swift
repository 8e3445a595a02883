import PostgresClient

/// What a recovered machine asks.
extension CatalogTransaction {
  public func accountCount() throws -> Int { try number("SELECT count(*) FROM exzo.accounts") }

  /// Of all projects, in order.
  public func unfinishedOperations() throws -> [OperationRecord] {
    try select(where: "t.status IN ('scheduling', 'running') ORDER BY t.position")
  }

  /// Whether a project's commits, and then writes to the catalog too, wait for the object store.
  public func holdsDurableProjects() throws -> Bool {
    try number(
      """
      SELECT count(*) FROM exzo.projects
      WHERE durability = '\(ProjectRecord.objectStoreDurability)' AND deleted_at IS NULL
      """) > 0
  }
}
