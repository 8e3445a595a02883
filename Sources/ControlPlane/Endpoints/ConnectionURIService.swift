import APITypes
import Catalog

/// Connection strings on request.
public struct ConnectionURIService: Sendable {
  let core: Core

  /// What `GET …/connection_uri` asks for; absent ids mean the default branch and its read_write
  /// endpoint.
  public struct Query: Sendable {
    public var branch: BranchID?
    public var endpoint: EndpointID?
    public var database: String
    public var role: String
    /// A session at this moment of the branch, which cannot write; needs no endpoint.
    public var moment: PastSessions.Moment?
    /// Through the endpoint's pooler.
    public var isPooled: Bool

    public init(
      branch: BranchID?, endpoint: EndpointID?, database: String, role: String,
      isPooled: Bool = false, moment: PastSessions.Moment? = nil
    ) {
      self.branch = branch
      self.endpoint = endpoint
      self.database = database
      self.role = role
      self.moment = moment
      self.isPooled = isPooled
    }
  }

  public func uri(_ query: Query, project: ProjectID, account: AccountID) async throws -> String {
    if query.isPooled, query.moment != nil {
      throw ControlPlaneError(
        .badValue, "'pooled' and a moment are both set: sessions at a moment are not pooled",
        hint: "leave one of them out")
    }
    if let moment = query.moment {
      return try await pastURI(query, moment, project: project, account: account)
    }
    if query.isPooled, !core.settings.hasPooler {
      throw ControlPlaneError.unsupported(
        "pooled", allowed: "leave it out, or install the package pgbouncer on the server")
    }
    let (endpoint, role) = try await core.catalog.read { tx -> (EndpointRecord, RoleRecord) in
      let project = try core.project(tx, project, of: account)
      let endpoint = try self.endpoint(query, project, tx)
      let branch = try core.branch(tx, endpoint.branchID, of: project.id)
      guard let database = try tx.database(query.database, of: branch.id), !database.isDropped
      else {
        throw ControlPlaneError(
          .databaseNotFound,
          "find database '\(query.database)' of branch '\(branch.name)': there is none")
      }
      return (endpoint, try RoleService.find(query.role, branch, tx))
    }
    return Presenter(core: core).connection(
      endpoint: endpoint.id, role: role.name, password: RoleService.password(of: role, core),
      database: query.database, isPooled: query.isPooled
    ).connectionURI
  }

  private func pastURI(
    _ query: Query, _ moment: PastSessions.Moment, project: ProjectID, account: AccountID
  ) async throws -> String {
    let role = try await core.catalog.read { tx -> RoleRecord in
      let project = try core.project(tx, project, of: account)
      let endpoint = try query.endpoint.map { try core.endpoint(tx, $0, of: project.id).branchID }
      guard let id = query.branch ?? endpoint ?? project.defaultBranchID else {
        throw ControlPlaneError(
          .branchNotFound, "make connection string: project '\(project.id)' has no default branch")
      }
      let branch = try core.branch(tx, id, of: project.id)
      guard let role = try tx.role(query.role, of: branch.id), !role.isDropped else {
        throw ControlPlaneError(
          .roleNotFound,
          "find role '\(query.role)' of branch '\(branch.name)': there is none today",
          hint: "a session at a moment is one of today's roles: name one of these")
      }
      return role
    }
    return Presenter(core: core).pastConnection(
      branch: role.branchID, role: role.name, password: RoleService.password(of: role, core),
      database: query.database, moment)
  }

  private func endpoint(
    _ query: Query, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> EndpointRecord {
    if let id = query.endpoint {
      let endpoint = try core.endpoint(tx, id, of: project.id)
      if let branch = query.branch, branch != endpoint.branchID {
        throw ControlPlaneError.value(
          "branch_id", branch, allowed: "the endpoint's branch '\(endpoint.branchID)'")
      }
      return endpoint
    }
    guard let id = query.branch ?? project.defaultBranchID else {
      throw ControlPlaneError(
        .branchNotFound, "make connection string: project '\(project.id)' has no default branch")
    }
    let branch = try core.branch(tx, id, of: project.id)
    let endpoints = try tx.endpoints(of: branch.id)
    guard let endpoint = endpoints.first(where: { $0.type == .readWrite }) else {
      if let reading = endpoints.first {
        throw ControlPlaneError(
          .endpointNotFound,
          "make connection string: branch '\(branch.name)' has no read_write endpoint",
          hint: "name one that reads with 'endpoint_id', such as '\(reading.id)'")
      }
      try core.refuseAttached(
        tx, branch.lineID, isOverFine: false,
        doing: "make connection string: branch '\(branch.name)' has no endpoint",
        instead: "name a moment, for a session that reads")
      throw ControlPlaneError(
        .endpointNotFound, "make connection string: branch '\(branch.name)' has no endpoint",
        hint: "create one")
    }
    return endpoint
  }
}
