import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  /// Schemas at any moment.
  static func schemas(_ plane: ControlPlane) -> [Route] { [schema(plane), comparison(plane)] }

  private static func schema(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/schema", "getProjectBranchSchema",
      "Shows a database's schema at any moment",
      query: [
        .text("db_name", isRequired: true), .text("lsn"), .text("timestamp"),
        QueryParameter(name: "format", kind: .words(["sql", "json"])),
      ]
    ) { request in
      let format = try request.query.word("format", oneOf: ["sql", "json"]) ?? "sql"
      return try await plane.schemas.schema(
        of: try request.query.required("db_name"),
        at: SchemaService.Place(
          branch: request.branch, lsn: request.query["lsn"],
          time: try request.query.time("timestamp")), asJSON: format == "json",
        project: request.project, account: request.account)
    }
  }

  private static func comparison(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/compare_schema", "getProjectBranchSchemaComparison",
      "Compares a database's schema at two moments",
      query: [
        .text("db_name", isRequired: true), .text("lsn"), .text("timestamp"),
        .text("base_branch_id"), .text("base_lsn"), .text("base_timestamp"),
      ]
    ) { request in
      let query = request.query
      let (lsn, time) = (query["base_lsn"], try query.time("base_timestamp"))
      // Only a moment of the base: it is the same branch's.
      let id =
        query["base_branch_id"].map { BranchID($0) }
        ?? (lsn != nil || time != nil ? request.branch : nil)
      let diff = try await plane.schemas.compare(
        try query.required("db_name"),
        at: SchemaService.Place(
          branch: request.branch, lsn: query["lsn"], time: try query.time("timestamp")),
        with: id.map { SchemaService.Place(branch: $0, lsn: lsn, time: time, prefix: "base_") },
        project: request.project, account: request.account)
      return API.BranchSchemaCompareResponse(diff: diff)
    }
  }
}
