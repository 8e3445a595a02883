import ControlPlane
import Foundation
import PostgresClient

/// A role that exists for one restore: it can log in, is no superuser, and is a member of all roles
/// that are none, so that it can give objects to their owners.
struct RestoreRole {
  let name: String
  let password: String

  private static let prefix = "exzo_restore_"

  /// - Parameter operation: names the role: the same after a crash.
  init(operation: String, random: inout some RandomNumberGenerator) {
    let letters = operation.lowercased().unicodeScalars.filter {
      ("a"..."z").contains($0) || ("0"..."9").contains($0)
    }
    var suffix = ""
    suffix.unicodeScalars.append(contentsOf: letters.prefix(40))
    name = "\(Self.prefix)\(suffix)"
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    password = String((0..<32).map { _ in alphabet.randomElement(using: &random) ?? "x" })
  }

  /// Makes the role, in the place of one that an interrupted attempt left.
  ///
  /// One on which a database is noted stays, with a new password: the note must not be lost.
  func make(_ cluster: PostgresConnection) throws {
    let isKept = try MadeDatabase(role: self, name: "", cluster: cluster).isNoted
    if !isKept { try remove(cluster, databases: [], newOwner: nil) }
    let verifier = SCRAMVerifierFactory.verifier(
      password: password, salt: (0..<16).map { _ in UInt8.random(in: 0...255) })
    let quoted = try SQL.identifier(name)
    if isKept { try cluster.query("ALTER ROLE \(quoted) RESET ALL") }
    // It could switch row security off as well: it is a member of all owners.
    try cluster.query(
      "\(isKept ? "ALTER" : "CREATE") ROLE \(quoted) LOGIN NOSUPERUSER INHERIT BYPASSRLS "
        + "PASSWORD \(try SQL.literal(verifier))")
    for role in try Self.roles(cluster) where role != name {
      try cluster.query("GRANT \(try SQL.identifier(role)) TO \(quoted)")
    }
  }

  /// Written before a restore's transaction is committed: says with it, on the role itself, that it was.
  static let marking = "RESET ROLE;\nALTER ROLE CURRENT_USER SET application_name = '\(mark)';\n"
  private static let mark = "exzo-restored"

  /// Ends the sessions of an attempt that was cut off: a psql whose serve was killed may still be at work, or a
  /// database still be made.
  func endSessions(_ cluster: PostgresConnection) throws {
    try cluster.query(
      """
      SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
      WHERE usename = $1 OR usename = current_user AND application_name = $1
        AND pid <> pg_backend_pid()
      """, parameters: [.text(name)])
  }

  /// Has ``endSessions(_:)`` of a later attempt end this session, too.
  func take(_ cluster: PostgresConnection) throws {
    try cluster.query("SET application_name = \(try SQL.literal(name))")
  }

  /// Whether a restore as this role was committed.
  func hasCommitted(_ cluster: PostgresConnection) throws -> Bool {
    try cluster.query(
      """
      SELECT 1 FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole
      WHERE r.rolname = $1 AND 'application_name=\(Self.mark)' = ANY (s.setconfig)
      """, parameters: [.text(name)]
    ).rowCount > 0
  }

  /// Of `pg_roles`: what is neither the platform's, nor that of another restore, nor the server's own. A server that is attached has
  /// superusers of its own: they come back as ordinary roles.
  static let isTenant =
    "rolname <> '\(PostgresTenantConfigurator.superuser)' AND rolname !~ '^(pg_|\(prefix))'"

  /// Roles of the cluster; see ``isTenant``.
  static func roles(_ cluster: PostgresConnection) throws -> [String] {
    try cluster.query(
      "SELECT rolname FROM pg_roles WHERE \(isTenant) ORDER BY oid"
    ).rows.map { try $0.value("rolname") }
  }

  /// Drops the role; what it owns in `databases` goes to `newOwner`.
  func remove(
    _ cluster: PostgresConnection, databases: [PostgresConnection], newOwner: String?
  ) throws {
    let found = try cluster.query(
      "SELECT 1 FROM pg_roles WHERE rolname = $1", parameters: [.text(name)]
    ).rowCount
    guard found > 0 else { return }
    try endSessions(cluster)
    let quoted = try SQL.identifier(name)
    for connection in databases + [cluster] {
      if let newOwner {
        try connection.query("REASSIGN OWNED BY \(quoted) TO \(try SQL.identifier(newOwner))")
      }
      try connection.query("DROP OWNED BY \(quoted)")
    }
    try cluster.query("DROP ROLE \(quoted)")
  }
}
