import ControlPlane
import Foundation
import PostgresClient

/// The objects of a database, without rows, in an empty database of another server; blocks its thread.
///
/// No superuser makes them: expressions of tenants are evaluated while tables and indexes are made
/// (`ComputePartitionAttrs`), and would run with the maker's rights.
struct SchemaCopy {
  let tools: PostgresDumpTools
  let directory: String
  let database: String
  let source: RunningCompute
  let target: String
  let compute: RunningCompute
  let prefix: [String]

  func run() throws {
    let archive = try tools.schemaArchive(of: database, on: source, in: directory)
    let cluster = try tools.connect(compute, "postgres")
    defer { cluster.close() }
    let connection = try tools.connect(compute, target)
    defer { connection.close() }
    let owner = try RestoreRun.owner(of: connection)
    var random = SystemRandomNumberGenerator()
    // One name for all: what a killed attempt left goes with the next one.
    let role = RestoreRole(operation: "schema", random: &random)
    try role.remove(cluster, databases: [connection], newOwner: owner)
    try role.make(cluster)
    do {
      let script = try RestoreScript(
        binaries: tools.binaries, prefix: prefix, scratch: directory,
        connection: tools.connectionString(compute, target, user: role.name),
        password: role.password, key: role.password)
      defer { script.abandon() }
      try write(archive, script, connection, owner)
      _ = try script.commit()
      try role.remove(cluster, databases: [connection], newOwner: owner)
    } catch {
      do { try role.remove(cluster, databases: [connection], newOwner: owner) } catch let second {
        tools.log.warning(
          "a role is left", metadata: ["role": "\(role.name)", "error": "\(second)"])
      }
      throw error
    }
  }

  private func write(
    _ archive: String, _ script: RestoreScript, _ connection: PostgresConnection, _ owner: String
  ) throws {
    let privileged = PrivilegedEntries(
      try RestoreRun.contents(archive, .custom), try ServerTrust(connection, presentIsFine: true))
    for note in privileged.notes {
      tools.log.notice("schema copied", metadata: ["database": "\(database)", "note": "\(note)"])
    }
    let entries = privileged.kept
    let grants = try SchemaGrants(entries, owner: owner, connection)
    try script.writeInOrder(entries, of: archive, grants)
  }
}

extension RestoreScript {
  /// Kinds that come after what they are about was given to its owner.
  static let lateKinds: Set<String> = ["ACL", "DEFAULT ACL", "MATERIALIZED VIEW DATA"]
  private static let firstKinds: Set<String> = ["SCHEMA", "EXTENSION"]

  /// All entries of an archive, so that a role that is no superuser can give each to its owner.
  func writeInOrder(
    _ entries: [ArchiveContents.Entry], of archive: String, _ grants: SchemaGrants
  ) throws {
    let late = entries.filter { Self.lateKinds.contains($0.kind) }
    try write(grants.onDatabase)
    try write(entries.filter { Self.firstKinds.contains($0.kind) }, of: archive)
    try write(grants.granting)
    try write(
      entries.filter { !Self.firstKinds.contains($0.kind) && !Self.lateKinds.contains($0.kind) },
      of: archive)
    try write(grants.revoking)
    try write(late.filter { $0.kind != "MATERIALIZED VIEW DATA" }, of: archive)
    for view in late where view.kind == "MATERIALIZED VIEW DATA" {
      // Its owner reads the tables, as when it was filled: policies count where they are forced on owners.
      // Names that cannot be read go as the archive has them.
      guard !view.definition.contains("\u{FFFD}") else {
        try write([view], of: archive)
        continue
      }
      try write("SET row_security = on;\n")
      try writeRestricted(view.definition)
      try write("SET row_security = off;\n")
    }
  }
}

extension PostgresDumpTools {
  /// Dumps the objects of a database, without rows, into a custom archive in a directory; blocks its thread.
  func schemaArchive(
    of database: String, on compute: RunningCompute, in directory: String
  ) throws -> String {
    let archive = "\(directory)/schema.archive"
    let encoding = try readableEncoding(of: database, on: compute)
    let program = try ChildProgram(
      "\(binaries)/pg_dump",
      [
        "--schema-only", "--format=custom", "--no-password", "--encoding=\(encoding)", "--file",
        archive, "--dbname",
        connectionString(compute, database, user: superuser(of: compute)),
      ], errors: "\(directory)/schema.err")
    try program.check("read the schema of '\(database)'")
    return archive
  }

  /// What programs write the database's names and definitions in; blocks its thread.
  public func readableEncoding(
    of database: String, on compute: RunningCompute
  ) throws -> String {
    let session = try connect(compute, database)
    defer { session.close() }
    return try RowTransfer.readable(RowTransfer.encoding(of: session))
  }

  /// Makes the objects of a database, without rows, in one that is empty and may have another name: all of them
  /// or none, by a role that is not superuser.
  /// - Throws: ``DumpError`` with what the program said.
  public func copySchema(
    of database: String, from past: RunningCompute, to target: String, on compute: RunningCompute,
    project: String
  ) async throws {
    let prefix = try identityPrefix(project)
    try await onThread { directory in
      try SchemaCopy(
        tools: self, directory: directory, database: database, source: past, target: target,
        compute: compute, prefix: prefix
      ).run()
    }
  }
}
