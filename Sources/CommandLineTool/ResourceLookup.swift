import APIClient
import APITypes

/// Turns what a user typed into ids.
public struct ResourceLookup: Sendable {
  private let client: APIClient

  /// The reference's largest page.
  private static let pageSize = 400

  public init(client: APIClient) { self.client = client }

  /// The project to act on: `given`, else `saved`, else the only one there is.
  ///
  /// - Throws: ``CommandError`` when there is none or more than one to choose from.
  public func project(given: String?, saved: String?) async throws -> String {
    if let id = given ?? saved { return id }
    let request = APIRequest(.get, ["projects"], query: [("limit", "2")])
    let projects = try await client.send(request, as: API.ProjectListResponse.self).value.projects
    guard let first = projects.first else {
      throw CommandError("there is no project yet", hint: "Run 'exzo projects create'.")
    }
    guard projects.count == 1 else {
      throw CommandError(
        "there is more than one project",
        hint: "Give --project-id, or run 'exzo set-context --project-id ID'.")
    }
    return first.id
  }

  /// The branch that `reference` names, by id or by name; the default one for nil.
  public func branch(_ reference: String?, project: String) async throws -> API.Branch {
    if let id = reference, id.hasPrefix("br-") {
      do {
        let request = APIRequest(.get, ["projects", project, "branches", id])
        return try await client.send(request, as: API.BranchResponse.self).value.branch
      } catch let error as APIClientError where error.status == 404 {
        // A name may begin like an id, too.
      }
    }
    let branches = try await branches(project: project).value
    let found = branches.first { reference == nil ? $0.isDefault : $0.name == reference }
    guard let found else {
      throw CommandError(
        "project '\(project)' has no branch '\(reference ?? "(default)")'",
        hint: "Run 'exzo branches list'.")
    }
    return found
  }

  /// All branches of a project. Follows pages; `json` is the last page's.
  public func branches(project: String) async throws -> APIAnswer<[API.Branch]> {
    var all: [API.Branch] = []
    var cursor: String?
    while true {
      var request = APIRequest(
        .get, ["projects", project, "branches"], query: [("limit", "\(Self.pageSize)")])
      if let cursor { request.query.append(("cursor", cursor)) }
      let page = try await client.send(request, as: API.BranchListResponse.self)
      all += page.value.branches
      guard let next = page.value.pagination?.next, next != cursor, !page.value.branches.isEmpty
      else { return APIAnswer(value: all, json: page.json) }
      cursor = next
    }
  }

  /// The id of a deleted branch: `reference` itself where it is an id, else the newest of that name.
  public func deletedBranch(_ reference: String, project: String) async throws -> String {
    if reference.hasPrefix("br-") { return reference }
    let request = APIRequest(
      .get, ["projects", project, "branches"],
      query: [
        ("search", reference), ("include_deleted", "true"), ("limit", "\(Self.pageSize)"),
        ("sort_by", "updated_at"), ("sort_order", "desc"),
      ])
    let page = try await client.send(request, as: API.BranchListResponse.self).value
    guard let found = page.branches.first(where: { $0.recovery != nil && $0.name == reference })
    else {
      throw CommandError(
        "project '\(project)' has no deleted branch '\(reference)' that can be recovered",
        hint: "Deleted branches are kept for seven days.")
    }
    return found.id
  }

  /// The read-write endpoint of a branch, else its first.
  public func endpoint(branch: API.Branch, project: String) async throws -> API.Endpoint {
    let request = APIRequest(.get, ["projects", project, "branches", branch.id, "endpoints"])
    let endpoints = try await client.send(request, as: API.EndpointsResponse.self).value.endpoints
    guard let found = endpoints.first(where: { $0.type == .readWrite }) ?? endpoints.first else {
      throw CommandError(
        "branch '\(branch.name)' has no endpoint",
        hint: "Run 'exzo endpoints create --branch \(branch.name)'.")
    }
    return found
  }

  /// Today's first role, where no database says which one.
  private func firstRole(of branch: API.Branch, project: String) async throws -> String {
    let request = APIRequest(.get, ["projects", project, "branches", branch.id, "roles"])
    let roles = try await client.send(request, as: API.RolesResponse.self).value.roles
    guard let role = roles.first(where: { $0.authenticationMethod != "no_login" }) else {
      throw CommandError(
        "branch '\(branch.name)' has no role that can log in today",
        hint: "Run 'exzo roles create --branch \(branch.name)'.")
    }
    return role.name
  }

  /// The connection string of a branch, or of a moment of it; database and role default to its first database and that
  /// one's owner. At a moment databases are reached that are gone today, as one of today's roles.
  public func connectionURI(
    branch: API.Branch, project: String, database: String?, role: String?, isPooled: Bool,
    moment: MomentReference.Moment? = nil
  ) async throws -> APIAnswer<API.ConnectionURIResponse> {
    let isRoleNamed = role != nil
    var (database, role) = (database, role)
    if database == nil || role == nil {
      let request = APIRequest(.get, ["projects", project, "branches", branch.id, "databases"])
      let all = try await client.send(request, as: API.DatabasesResponse.self).value.databases
      let match = all.first { database == nil || $0.name == database }
      // At a moment there may be databases that are gone today.
      guard let name = match?.name ?? (moment == nil ? nil : database) else {
        let what = database.map { "database '\($0)'" } ?? "database today"
        throw CommandError(
          "branch '\(branch.name)' has no \(what)",
          hint: moment == nil
            ? "Run 'exzo databases list --branch \(branch.name)'."
            : "Name one of then with --database.")
      }
      database = name
      if role == nil { role = match?.ownerName ?? all.first?.ownerName }
      if role == nil { role = try await firstRole(of: branch, project: project) }
    }
    do {
      return try await uri(branch, project, database, role, isPooled, moment)
    } catch let error as APIClientError where error.code == "role_not_found" && !isRoleNamed {
      // A database of then may belong to a role that was deleted since.
      role = try await firstRole(of: branch, project: project)
      return try await uri(branch, project, database, role, isPooled, moment)
    }
  }

  private func uri(
    _ branch: API.Branch, _ project: String, _ database: String?, _ role: String?,
    _ isPooled: Bool, _ moment: MomentReference.Moment?
  ) async throws -> APIAnswer<API.ConnectionURIResponse> {
    var query = [
      ("branch_id", branch.id), ("database_name", database ?? ""), ("role_name", role ?? ""),
      ("pooled", isPooled ? "true" : "false"),
    ]
    switch moment {
    case .lsn(let lsn): query.append(("lsn", lsn))
    case .timestamp(let date): query.append(("timestamp", RFC3339.text(date)))
    case nil: break
    }
    return try await client.send(
      APIRequest(.get, ["projects", project, "connection_uri"], query: query))
  }
}
