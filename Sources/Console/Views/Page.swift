import APITypes
import Foundation
import Hummingbird

/// One page: its template, what the template takes, and where it stands in the navigation.
struct Page {
  var title: String
  var template: String
  var values: [String: Any] = [:]
  /// The entry of the navigation that is lit.
  var active = ""
  var project: API.Project?
  /// Static scripts beside `app.js`.
  var scripts: [String] = []
}

extension Console {
  /// The page of a path, or the way to another.
  func page(_ context: PageContext) async throws -> Response {
    do {
      if context.path.isEmpty { return ConsoleHeaders.redirect("/projects") }
      guard let page = try await find(context) else {
        return ConsoleHeaders.response(404, try render(notFound(context), context))
      }
      return ConsoleHeaders.response(200, try render(page, context))
    } catch let error as PageError {
      let page = Page(
        title: "Not shown", template: "problem",
        values: ["problem": error.message, "status": error.status])
      return ConsoleHeaders.response(error.status, try render(page, context))
    }
  }

  private func notFound(_ context: PageContext) -> Page {
    Page(
      title: "Not found", template: "problem",
      values: [
        "problem": "There is no page at '/\(context.path.joined(separator: "/").prefix(200))'.",
        "status": 404,
      ])
  }

  private func find(_ context: PageContext) async throws -> Page? {
    let path = context.path
    switch (path.first, path.count) {
    case ("projects", 1): return try await projects(context)
    case ("projects", 2...): return try await projectPage(context, path[1])
    case ("billing", 1): return try await billing(context)
    case ("keys", 1): return try await keys(context)
    case ("help", 1): return try await help(context)
    case ("help", 2): return guide(path[1])
    default: return nil
    }
  }

  private func projectPage(_ context: PageContext, _ id: String) async throws -> Page? {
    let place = try await ProjectPlace(context, id)
    let path = context.path
    switch (path.count > 2 ? path[2] : "", path.count) {
    case ("", 2): return try await dashboard(place)
    case ("branches", 3): return try await branchTree(place)
    case ("branches", 4): return try await branchPage(place, path[3])
    case ("branches", 5) where path[4] == "timeline": return try await timeline(place, path[3])
    case ("timeline", 3): return try await timeline(place, place.defaultBranch?.id ?? "")
    case ("sql", 3): return try await sqlEditor(place)
    case ("roles", 3): return try await roles(place)
    case ("operations", 3): return try await operations(place)
    case ("backups", 3): return try await backups(place)
    case ("monitoring", 3): return try await monitoring(place)
    case ("settings", 3): return try await settingsPage(place)
    default: return nil
    }
  }

  /// The page within the frame that all have.
  private func render(_ page: Page, _ context: PageContext) throws -> String {
    let account = context.session.caller.account
    var values = page.values
    values["origin"] = context.origin
    let body = try assets.render(page.template, values)
    var frame: [String: Any] = [
      "title": page.title, "body": body, "version": assets.version,
      "token": context.session.formToken, "account": account.name, "plan": account.plan,
      "scripts": page.scripts.map { ["name": $0] },
    ]
    for name in ["projects", "billing", "keys", "help"] {
      frame["on_\(name)"] = page.active == name
    }
    if let project = page.project {
      frame["project"] = [
        "id": project.id, "name": project.name, "links": Self.links(project.id, page.active),
      ]
    }
    return try assets.render("frame", frame)
  }

  private static func links(_ project: String, _ active: String) -> [[String: Any]] {
    [
      ("", "Dashboard"), ("timeline", "Timeline"), ("branches", "Branches"), ("sql", "SQL editor"),
      ("roles", "Roles and databases"), ("backups", "Backups"), ("operations", "Operations"),
      ("monitoring", "Monitoring"), ("settings", "Settings"),
    ].map { path, title in
      [
        "href": "/projects/\(project)\(path.isEmpty ? "" : "/")\(path)", "title": title,
        "on": active == (path.isEmpty ? "dashboard" : path),
      ]
    }
  }
}

/// A project, and what most of its pages show of it.
struct ProjectPlace {
  let context: PageContext
  let project: API.Project
  /// Oldest first.
  let branches: [API.Branch]
  let endpoints: [API.Endpoint]

  init(_ context: PageContext, _ id: String) async throws {
    self.context = context
    let answer: API.ProjectResponse = try await context.get(["projects", id])
    project = answer.project
    let list: API.BranchListResponse = try await context.get(
      ["projects", id, "branches"],
      ["limit": "1000", "sort_by": "created_at", "sort_order": "asc"])
    branches = list.branches
    let found: API.EndpointsResponse = try await context.get(["projects", id, "endpoints"])
    endpoints = found.endpoints
  }

  var defaultBranch: API.Branch? { branches.first(where: \.isDefault) ?? branches.first }

  /// The branch that the query names, else the default one.
  var chosenBranch: API.Branch? {
    branches.first { $0.id == context.query["branch"] } ?? defaultBranch
  }

  func endpoint(of branch: String) -> API.Endpoint? {
    endpoints.first { $0.branchID == branch && $0.type == .readWrite }
  }

  func branchName(_ id: String?) -> String? {
    guard let id else { return nil }
    return branches.first { $0.id == id }?.name ?? id
  }

  func path(_ rest: String...) -> [String] { ["projects", project.id] + rest }

  /// For a list to choose from.
  func branchOptions(chosen: String?) -> [[String: Any]] {
    branches.map { ["value": $0.id, "label": $0.name, "on": $0.id == chosen] }
  }
}
