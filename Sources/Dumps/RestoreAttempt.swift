import ControlPlane
import DurableIO
import Foundation
import PostgresClient

/// One call of a restore that may have been called before; blocks its thread.
///
/// *Crash*: the restore's transaction leaves a mark on the role that exists for it. Until the caller has kept that it
/// was committed the role stays: the next attempt finds the mark, and does nothing a second time. Only then the role
/// goes, and what it owned passes to the database's owner. A database that one of the attempts made goes with the one
/// that fails, unless somebody put something into it.
struct RestoreAttempt: Sendable {
  let tools: PostgresDumpTools
  let operation: String
  let isCommitted: Bool
  let database: String
  let compute: RunningCompute
  let committed: @Sendable (RestoreOutcome) async throws -> Void

  func run(_ restore: (RestoreRole) throws -> [String]) throws {
    let cluster = try tools.connect(compute, "postgres")
    defer { cluster.close() }
    var random = SystemRandomNumberGenerator()
    let role = RestoreRole(operation: operation, random: &random)
    if !isCommitted {
      try role.endSessions(cluster)
      let notes =
        try isDone(role, cluster) ? Self.unknown : commit(role, cluster, restore)
      let owner = try owner(cluster) ?? ""
      try waitFor { [committed] in try await committed(RestoreOutcome(notes: notes, owner: owner)) }
    }
    do {
      try remove(role, cluster)
    } catch {
      throw DumpError(
        "tidy up after the restore, which is done: role '\(role.name)' is left: \(error)",
        isTemporary: true)
    }
  }

  private func commit(
    _ role: RestoreRole, _ cluster: PostgresConnection, _ restore: (RestoreRole) throws -> [String]
  ) throws -> [String] {
    do {
      return try restore(role)
    } catch {
      // psql may have lost its session after the server had committed.
      try role.endSessions(cluster)
      if try isDone(role, cluster) { return Self.unknown }
      let kept = removeDatabase(role, cluster)
      do { try remove(role, cluster) } catch let second {
        tools.log.warning(
          "a role is left", metadata: ["role": "\(role.name)", "error": "\(second)"])
      }
      guard let kept, var told = tools.told(error) as? DumpError else { throw error }
      told.message += "; database '\(database)' was made for it and stays: \(kept)"
      throw told
    }
  }

  /// Removes a database that one of the attempts made; returns why it stays.
  private func removeDatabase(_ role: RestoreRole, _ cluster: PostgresConnection) -> String? {
    do {
      try MadeDatabase(role: role, name: database, cluster: cluster).removeUnused {
        try tools.connect(compute, database)
      }
      return nil
    } catch {
      tools.log.warning(
        "a database is left", metadata: ["database": "\(database)", "error": "\(error)"])
      return "\(error)"
    }
  }

  private static let unknown = [
    "everything was brought back by an attempt that was interrupted; what it could not make, and how many rows there "
      + "were, is not known: look at the database"
  ]

  private func isDone(_ role: RestoreRole, _ cluster: PostgresConnection) throws -> Bool {
    try role.hasCommitted(cluster) && owner(cluster) != nil
  }

  private func remove(_ role: RestoreRole, _ cluster: PostgresConnection) throws {
    // It may be gone, or was never made.
    guard let owner = try owner(cluster) else {
      return try role.remove(cluster, databases: [], newOwner: nil)
    }
    let connection = try tools.connect(compute, database)
    defer { connection.close() }
    try role.remove(cluster, databases: [connection], newOwner: owner)
  }

  /// The database's owner; `nil` where there is no such database.
  private func owner(_ cluster: PostgresConnection) throws -> String? {
    try cluster.query(
      """
      SELECT r.rolname FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
      WHERE d.datname = $1
      """, parameters: [.text(database)]
    ).first?["rolname"]
  }
}
