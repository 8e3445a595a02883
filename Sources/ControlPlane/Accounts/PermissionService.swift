import APITypes
import Catalog
import Foundation

/// Sharing of projects by email address.
///
/// Who has the address sees and changes what is in the project. Deleting it, and sharing it on, is
/// its owner's; to everyone else these routes say that there is no such project. An address needs
/// no account yet, so that granting tells nobody who has one.
public struct PermissionService: Sendable {
  let core: Core

  private func owned(
    _ id: ProjectID, _ account: AccountID, _ tx: CatalogTransaction, includesDeleted: Bool = false
  ) throws -> ProjectRecord {
    let project = try core.lock(tx, id, of: account, includesDeleted: includesDeleted)
    guard project.accountID == account else {
      throw ControlPlaneError(
        .projectNotFound, "find project '\(id)' among those that you own: there is none",
        hint: "it is shared with you; ask its owner")
    }
    return project
  }

  public func list(project: ProjectID, account: AccountID) async throws -> [API.Permission] {
    try await core.catalog.read { tx in
      try tx.permissions(of: try core.project(tx, project, of: account).id).map(\.shown)
    }
  }

  /// Granting what was granted answers as the first time.
  public func grant(
    _ email: String, project: ProjectID, account: AccountID
  ) async throws -> API.Permission {
    try EmailAddress.check("email", email)
    return try await core.catalog.write { tx in
      let project = try self.owned(project, account, tx)
      if let present = try tx.permission(email: email, of: project.id) { return present.shown }
      return try tx.insert(
        PermissionRecord(
          id: core.random.uuid(), accountID: account, plan: project.plan, projectID: project.id,
          email: email, createdAt: core.clock.now)
      ).shown
    }
  }

  /// Revoking what was revoked answers as the first time.
  public func revoke(
    _ id: String, project: ProjectID, account: AccountID
  ) async throws -> API.Permission {
    try await core.catalog.write { tx in
      let project = try self.owned(project, account, tx, includesDeleted: true)
      guard let permission = try tx.permission(id, of: project.id) else {
        throw ControlPlaneError(
          .permissionNotFound,
          "revoke permission '\(id.prefix(64))' of project '\(project.id)': there is none")
      }
      return try self.revoke(permission, tx)
    }
  }

  /// As the oldest client asks: by id or by address, in the body.
  public func revoke(
    _ request: API.PermissionRevokeRequest, project: ProjectID, account: AccountID
  ) async throws -> API.Permission {
    if let id = request.permissionID {
      return try await revoke(id, project: project, account: account)
    }
    guard let email = request.email else {
      throw ControlPlaneError(.badValue, "'permission_id' or 'email' is required")
    }
    return try await core.catalog.write { tx in
      let project = try self.owned(project, account, tx)
      guard let permission = try tx.permission(email: email, of: project.id) else {
        throw ControlPlaneError(
          .permissionNotFound,
          "revoke the permission of '\(email.prefix(64))' on project '\(project.id)': there is none"
        )
      }
      return try self.revoke(permission, tx)
    }
  }

  private func revoke(
    _ permission: PermissionRecord, _ tx: CatalogTransaction
  ) throws -> API.Permission {
    guard permission.revokedAt == nil else { return permission.shown }
    var permission = permission
    permission.revokedAt = core.clock.now
    try tx.update(permission)
    return permission.shown
  }

  /// Projects of others that the account may use.
  public func sharedProjects(
    account: AccountID, search: String?, page: PageRequest
  ) async throws -> (projects: [API.ProjectListItem], next: PagePosition?) {
    try await core.catalog.read { tx in
      let found = try tx.sharedProjects(with: account, search: search, page)
      let shown = try Presenter(core: core).listItems(found.elements, tx).map { item in
        var item = item
        item.effectiveProjectPermission = .canEdit
        return item
      }
      return (shown, found.next)
    }
  }
}

extension PermissionRecord {
  var shown: API.Permission {
    API.Permission(
      id: id, grantedToEmail: email, grantedAt: createdAt, revokedAt: revokedAt)
  }
}
