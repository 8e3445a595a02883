import APITypes
import Foundation

extension Console {
  func branchTree(_ place: ProjectPlace) async throws -> Page {
    let all: API.BranchListResponse = try await place.context.get(
      place.path("branches"), ["limit": "1000", "include_deleted": "true"])
    let deleted = all.branches.filter { $0.recovery != nil }
    let tree = BranchTree(place.branches)
    let drawing = BranchDrawing(
      tree: tree, project: place.project, now: plane.now)
    return Page(
      title: "Branches", template: "branches",
      values: [
        "id": place.project.id, "drawing": drawing.svg,
        "branches": tree.rows.map { row in
          var values = Pieces.branch(row.branch, place)
          values["depth"] = min(row.depth, 6)
          return values
        }, "parents": place.branchOptions(chosen: place.defaultBranch?.id),
        "deleted": deleted.map { branch in
          var values = Pieces.branch(branch, place)
          values["until"] = Format.time(branch.recovery?.recoverableUntil)
          return values
        }, "hasDeleted": !deleted.isEmpty,
      ], active: "branches", project: place.project)
  }

  func branchPage(_ place: ProjectPlace, _ id: String) async throws -> Page {
    let answer: API.BranchResponse = try await place.context.get(place.path("branches", id))
    let branch = answer.branch
    let operations: API.OperationListResponse = try await place.context.get(
      place.path("operations"), ["limit": "200"])
    let children = place.branches.filter { $0.parentID == branch.id }
    var values = Pieces.branch(branch, place)
    values["projectID"] = place.project.id
    values["children"] = children.map { Pieces.branch($0, place) }
    values["hasChildren"] = !children.isEmpty
    values["operations"] = operations.operations.filter { $0.branchID == id }.prefix(10).map {
      Pieces.operation($0, place)
    }
    values["canReset"] = branch.parentID != nil
    if let window = branch.restoreWindow {
      values["window"] = [
        "from": Format.time(window.earliestTimestamp) ?? [:], "fromLSN": window.earliestLSN,
        "to": Format.time(window.latestTimestamp) ?? [:], "toLSN": window.latestLSN,
        "length": Format.duration(
          seconds: Int(window.latestTimestamp.timeIntervalSince(window.earliestTimestamp))),
      ]
    }
    return Page(
      title: branch.name, template: "branch", values: values, active: "branches",
      project: place.project)
  }

  func roles(_ place: ProjectPlace) async throws -> Page {
    guard let branch = place.chosenBranch else {
      throw PageError(status: 404, message: "the project has no branch", code: "")
    }
    let tenants = try await Tenants(place, branch.id)
    return Page(
      title: "Roles and databases", template: "roles",
      values: [
        "id": place.project.id, "branch": branch.id, "branchName": branch.name,
        "branchOptions": place.branchOptions(chosen: branch.id),
        "roles": tenants.allRoles.map { role in
          [
            "name": role.name, "canLogin": role.authenticationMethod != "no_login",
            "isProtected": role.isProtected == true, "branch": branch.id, "id": place.project.id,
            "created": Format.time(role.createdAt) ?? [:],
          ] as [String: Any]
        },
        "databases": tenants.allDatabases.map { database in
          [
            "name": database.name, "owner": database.ownerName, "branch": branch.id,
            "id": place.project.id, "created": Format.time(database.createdAt) ?? [:],
          ] as [String: Any]
        },
        "owners": tenants.allRoles.map { Pieces.option($0.name, $0.name, chosen: nil) },
      ], active: "roles", project: place.project)
  }

  func operations(_ place: ProjectPlace) async throws -> Page {
    var query = ["limit": "50"]
    query["cursor"] = place.context.query["cursor"]
    let list: API.OperationListResponse = try await place.context.get(
      place.path("operations"), query)
    var values: [String: Any] = [
      "id": place.project.id,
      "operations": list.operations.map { Pieces.operation($0, place) },
      "isEmpty": list.operations.isEmpty,
    ]
    if let cursor = list.pagination?.cursor { values["next"] = PageContext.escape(cursor) }
    return Page(
      title: "Operations", template: "operations", values: values, active: "operations",
      project: place.project)
  }
}

/// Branches in the order in which a tree is read: each after its parent, older ones first.
struct BranchTree {
  struct Row {
    var branch: API.Branch
    var depth: Int
    /// The row of its parent; `nil` where that is not there.
    var parent: Int?
  }

  private(set) var rows: [Row] = []

  init(_ branches: [API.Branch]) {
    let known = Set(branches.map(\.id))
    let children = Dictionary(grouping: branches) { branch in
      branch.parentID.flatMap { known.contains($0) ? $0 : nil } ?? ""
    }
    func add(_ parent: String, _ depth: Int, _ row: Int?) {
      for branch in (children[parent] ?? []).sorted(by: { $0.createdAt < $1.createdAt }) {
        // A cycle would be a defect of the catalog; each branch is drawn once whatever it holds.
        guard !rows.contains(where: { $0.branch.id == branch.id }) else { continue }
        rows.append(Row(branch: branch, depth: depth, parent: row))
        add(branch.id, depth + 1, rows.count - 1)
      }
    }
    add("", 0, nil)
  }
}
