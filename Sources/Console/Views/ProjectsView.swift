import APITypes
import Foundation

extension Console {
  func projects(_ context: PageContext) async throws -> Page {
    var query = ["limit": "100"]
    query["search"] = context.query["search"]
    query["cursor"] = context.query["cursor"]
    let list: API.ProjectListResponse = try await context.get(["projects"], query)
    let deleted: API.ProjectListResponse = try await context.get(
      ["projects"], ["recoverable": "true", "limit": "50"])
    var values: [String: Any] = [
      "projects": list.projects.map(Self.row), "hasProjects": !list.projects.isEmpty,
      "search": context.query["search"] ?? "",
      "isSearch": context.query["search"]?.isEmpty == false,
      "deleted": deleted.projects.map(Self.row), "hasDeleted": !deleted.projects.isEmpty,
    ]
    values["next"] = list.pagination.map { PageContext.escape($0.cursor) }
    return Page(title: "Projects", template: "projects", values: values, active: "projects")
  }

  private static func row(_ project: API.ProjectListItem) -> [String: Any] {
    var values: [String: Any] = [
      "id": project.id, "name": project.name, "version": project.pgVersion,
      "retention": project.historyRetentionSeconds.map { Format.duration(seconds: $0) } ?? "",
      "size": project.syntheticStorageSize.map(Format.bytes) ?? "not measured yet",
      "active": Format.duration(seconds: project.activeTime),
    ]
    values["created"] = Format.time(project.createdAt)
    values["until"] = Format.time(project.recoverableUntil)
    return values
  }

  func dashboard(_ place: ProjectPlace) async throws -> Page {
    let project = place.project
    let operations: API.OperationListResponse = try await place.context.get(
      place.path("operations"), ["limit": "8"])
    var values: [String: Any] = [
      "id": project.id, "name": project.name, "version": project.pgVersion,
      "branches": place.branches.map { Pieces.branch($0, place) },
      "branchCount": place.branches.count,
      "operations": operations.operations.map { Pieces.operation($0, place) },
      "hasOperations": !operations.operations.isEmpty,
      "retention": Format.duration(seconds: project.historyRetentionSeconds),
      "usage": Self.usage(project),
    ]
    values["connection"] = try await connection(place)
    return Page(
      title: project.name, template: "dashboard", values: values, active: "dashboard",
      project: project)
  }

  private static func usage(_ project: API.Project) -> [[String: Any]] {
    [
      ["title": "Compute", "value": Format.duration(seconds: project.computeTimeSeconds)],
      ["title": "Written", "value": Format.bytes(project.writtenDataBytes)],
      ["title": "Transfer out", "value": Format.bytes(project.dataTransferBytes)],
      [
        "title": "Storage",
        "value": project.syntheticStorageSize.map(Format.bytes) ?? "not measured",
      ],
    ]
  }

  /// The chosen branch's connection strings; `nil` where it has nothing to connect to.
  private func connection(_ place: ProjectPlace) async throws -> [String: Any]? {
    guard let branch = place.chosenBranch, place.endpoint(of: branch.id) != nil else { return nil }
    let query = place.context.query
    let tenants = try await Tenants(place, branch.id)
    guard let database = tenants.database(query["database"]), let role = tenants.role(query["role"])
    else { return nil }
    var wanted = ["branch_id": branch.id, "database_name": database, "role_name": role]
    let isPooled = query["pooled"] == "true"
    if isPooled { wanted["pooled"] = "true" }
    let answer: API.ConnectionURIResponse
    do {
      answer = try await place.context.get(place.path("connection_uri"), wanted)
    } catch let error as PageError {
      return ["problem": error.message]
    }
    return [
      "branchOptions": place.branchOptions(chosen: branch.id),
      "databaseOptions": tenants.databases.map { Pieces.option($0, $0, chosen: database) },
      "roleOptions": tenants.roles.map { Pieces.option($0, $0, chosen: role) },
      "pooled": isPooled, "forms": ConnectionForms(uri: answer.uri).all,
      "hasPooler": place.endpoint(of: branch.id)?.poolerEnabled == true,
    ]
  }
}

/// A branch's roles and databases.
struct Tenants {
  let roles: [String]
  let databases: [String]
  let owners: [String: String]
  let allRoles: [API.Role]
  let allDatabases: [API.Database]

  init(_ place: ProjectPlace, _ branch: String) async throws {
    let found: API.RolesResponse = try await place.context.get(
      place.path("branches", branch, "roles"))
    let list: API.DatabasesResponse = try await place.context.get(
      place.path("branches", branch, "databases"))
    allRoles = found.roles
    allDatabases = list.databases
    roles = found.roles.filter { $0.authenticationMethod != "no_login" }.map(\.name)
    databases = list.databases.map(\.name)
    owners = Dictionary(list.databases.map { ($0.name, $0.ownerName) }) { first, _ in first }
  }

  func database(_ name: String?) -> String? {
    name.flatMap { databases.contains($0) ? $0 : nil } ?? databases.first
  }

  /// The role named, else the owner of the first database.
  func role(_ name: String?) -> String? {
    name.flatMap { roles.contains($0) ? $0 : nil }
      ?? databases.first.flatMap { owners[$0] }.flatMap { roles.contains($0) ? $0 : nil }
      ?? roles.first
  }
}

/// A connection string in the forms that programs take.
struct ConnectionForms {
  let uri: String

  var all: [[String: Any]] {
    [
      form("psql", "psql '\(uri)'"), form("URI", uri), form("Environment", environment),
      form("psycopg", "psycopg.connect(\"\(uri)\")"), form("JDBC", jdbc),
    ]
  }

  private func form(_ title: String, _ text: String) -> [String: Any] {
    let secret = parts?.password ?? ""
    return [
      "title": title, "text": text, "id": "conn-\(title.lowercased())",
      "masked": secret.isEmpty ? text : text.replacing(secret, with: "••••••••"),
    ]
  }

  private var parts: (user: String, password: String, rest: String)? {
    guard let start = uri.range(of: "://")?.upperBound,
      let at = uri[start...].firstIndex(of: "@")
    else { return nil }
    let login = uri[start..<at].split(separator: ":", maxSplits: 1).map(String.init)
    return (
      login.first ?? "", login.count > 1 ? login[1] : "", String(uri[uri.index(after: at)...])
    )
  }

  private var environment: String { "export DATABASE_URL='\(uri)'" }

  private var jdbc: String {
    guard let parts else { return uri }
    let mark = parts.rest.contains("?") ? "&" : "?"
    return "jdbc:postgresql://\(parts.rest)\(mark)user=\(parts.user)&password=\(parts.password)"
  }
}
