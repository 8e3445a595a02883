import APITypes
import Catalog

/// How many connections the servers of endpoints allow (`max_connections`).
///
/// It is given to servers apart from what else users set: that of an endpoint that reads is never below what
/// its branch's other server allows, or PostgreSQL pauses its replay.
enum ConnectionLimit {
  static let name = "max_connections"
  /// Three are kept for superusers, and the platform has some sessions of its own.
  static let least = 20
  static let standard = ComputeSettings().maxConnections

  /// What a server gets.
  /// - Parameter primary: the branch's endpoint that writes, where `endpoint` reads.
  static func effective(
    _ endpoint: EndpointRecord, primary: EndpointRecord?, of project: ProjectRecord
  ) -> Int {
    let own = max(least, set(in: parameters(of: endpoint, project)) ?? standard)
    guard endpoint.type == .readOnly, let primary else { return own }
    return max(own, effective(primary, primary: nil, of: project))
  }

  /// What a project and one of its endpoints set; the endpoint's word counts.
  static func parameters(
    of endpoint: EndpointRecord, _ project: ProjectRecord
  ) -> [String: String] {
    var parameters = project.defaultEndpointSettings.pgSettings ?? [:]
    parameters.merge(endpoint.settings.pgSettings ?? [:]) { $1 }
    return parameters
  }

  private static func set(in parameters: [String: String]) -> Int? {
    parameters.first { $0.key.lowercased() == name }.flatMap {
      ParameterRule.Unit.none.number($0.value)
    }
  }

  /// - Parameter settings: as a request has them, for an endpoint of a type on a branch.
  /// - Throws: where the endpoint reads, and the value is below what it must have.
  static func check(
    _ settings: API.EndpointSettings?, _ type: API.EndpointType, on branch: BranchID,
    of project: ProjectRecord, _ tx: CatalogTransaction
  ) throws {
    guard type == .readOnly, let asked = set(in: settings?.pgSettings ?? [:]) else { return }
    guard let primary = try tx.endpoints(of: branch).first(where: { $0.type == .readWrite }) else {
      return
    }
    let floor = effective(primary, primary: nil, of: project)
    guard asked < floor else { return }
    throw ControlPlaneError.value(
      "endpoint.settings.pg_settings.\(name)", asked,
      allowed: "\(floor) to 10000: no less than '\(primary.id)', which it follows, allows")
  }
}
