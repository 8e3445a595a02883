import Foundation
import PostgresClient

extension CatalogTransaction {
  /// The line and, as long as its window goes on into its parent, the parents: nearest first.
  public func lineage(of id: CatalogLineID) throws -> [LineRecord] {
    var lines: [LineRecord] = []
    var next: CatalogLineID? = id
    while let id = next, let line = try self.line(id), !lines.contains(where: { $0.id == id }) {
      lines.append(line)
      next = line.inheritsWindow ? line.parentID : nil
    }
    return lines
  }

  /// The branch of that name, if it is there.
  public func branch(named name: String, of project: ProjectID) throws -> BranchRecord? {
    try first(
      where: "t.project_id = $1 AND t.name = $2 AND t.deleted_at IS NULL", .text(project.rawValue),
      .text(name))
  }

  /// All children of `branch`, also deleted ones, become those of `other`.
  /// - Parameter except: stays where it is.
  public func moveChildren(
    of branch: BranchID, to other: BranchID?, except: BranchID? = nil
  ) throws {
    try run(
      "UPDATE exzo.branches SET parent_id = $2 WHERE parent_id = $1 AND id IS DISTINCT FROM $3",
      .text(branch.rawValue), other.map { .text($0.rawValue) }, except.map { .text($0.rawValue) })
  }

  /// The branch itself or, where it was deleted, what took its place; `nil` where nothing did.
  public func livingBranch(_ id: BranchID?) throws -> BranchRecord? {
    var next = id
    var seen: Set<BranchID> = []
    while let id = next, seen.insert(id).inserted {
      guard let branch = try anyBranch(id) else { return nil }
      if branch.deletedAt == nil { return branch }
      next = branch.preservedFrom ?? branch.parentID
    }
    return nil
  }

  /// A branch, deleted or not, whatever project it belongs to.
  public func anyBranch(_ id: BranchID) throws -> BranchRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// Endpoints that were deleted together with something at `date`.
  public func endpoints(of branch: BranchID, deletedAt date: Date) throws -> [EndpointRecord] {
    try select(
      where: "t.branch_id = $1 AND t.deleted_at = $2::timestamptz ORDER BY t.created_at, t.id",
      .text(branch.rawValue), .init(date))
  }

  public func deleteRoles(of branch: BranchID) throws {
    try run("DELETE FROM exzo.roles WHERE branch_id = $1", .text(branch.rawValue))
  }

  public func deleteDatabases(of branch: BranchID) throws {
    try run("DELETE FROM exzo.databases WHERE branch_id = $1", .text(branch.rawValue))
  }
}

extension CatalogTransaction {
  /// The branch or, where a finalized restore put another in its place, that one; `nil` where it
  /// was deleted.
  public func livingHeir(of id: BranchID) throws -> BranchRecord? {
    var branch = try anyBranch(id)
    var seen: Set<BranchID> = []
    while let current = branch, let heir = current.preservedFrom, seen.insert(current.id).inserted,
      let next = try anyBranch(heir), next.restoredAs == current.id
    {
      branch = next
    }
    return branch?.deletedAt == nil ? branch : nil
  }
}
