import APITypes
import Foundation
import PostgresClient

extension CatalogTransaction {
  /// An endpoint of `project`, deleted or not.
  public func endpoint(_ id: EndpointID, of project: ProjectID) throws -> EndpointRecord? {
    try first(
      where: "t.id = $1 AND t.project_id = $2", .text(id.rawValue), .text(project.rawValue)
    )
  }

  /// An endpoint that is there, whatever project it belongs to.
  public func endpoint(_ id: EndpointID) throws -> EndpointRecord? {
    try first(where: "t.id = $1 AND t.deleted_at IS NULL", .text(id.rawValue))
  }

  public func endpoints(of project: ProjectID) throws -> [EndpointRecord] {
    try select(
      where: "t.project_id = $1 AND t.deleted_at IS NULL ORDER BY t.created_at, t.id",
      .text(project.rawValue))
  }

  public func endpoints(of branch: BranchID) throws -> [EndpointRecord] {
    try select(
      where: "t.branch_id = $1 AND t.deleted_at IS NULL ORDER BY t.created_at, t.id",
      .text(branch.rawValue))
  }

  /// Endpoints in `state`, of all projects.
  public func endpoints(in state: API.EndpointState) throws -> [EndpointRecord] {
    try select(where: "t.state = $1 AND t.deleted_at IS NULL ORDER BY t.id", .text(state.rawValue))
  }

  /// Moves the time of last activity forward.
  public func touchEndpoint(_ id: EndpointID, at date: Date) throws {
    try run(
      """
      UPDATE exzo.endpoints SET last_active_at = greatest(last_active_at, $2::timestamptz)
      WHERE id = $1
      """, .text(id.rawValue), .init(date))
  }

  public func compute(of endpoint: EndpointID) throws -> ComputeRecord? {
    try first(where: "t.endpoint_id = $1", .text(endpoint.rawValue))
  }

  /// Computes of the endpoint; where that is `nil` of the branch; where that is `nil` of the
  /// project.
  public func computes(
    project: ProjectID, branch: BranchID?, endpoint: EndpointID?
  ) throws -> [ComputeRecord] {
    try select(
      where: """
        t.project_id = $1 AND ($2::text IS NULL OR t.branch_id = $2)
        AND ($3::text IS NULL OR t.endpoint_id = $3) ORDER BY t.id
        """, .text(project.rawValue), branch.map { .text($0.rawValue) },
      endpoint.map { .text($0.rawValue) })
  }

  public func deleteCompute(_ id: ComputeID) throws {
    try run("DELETE FROM exzo.computes WHERE id = $1", .text(id.rawValue))
  }
}
