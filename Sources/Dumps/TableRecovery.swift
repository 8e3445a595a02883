import ControlPlane
import Foundation
import PostgresClient

/// Brings one table of a past moment, or some of its rows, into a running database; blocks its
/// thread.
///
/// The moment is a branch that can be written and is thrown away: there the table gets its new name,
/// and with it its indexes, sequences and partitions, so that what `pg_dump` then says of it fits
/// beside the table that is there now.
struct TableRecovery {
  let tools: PostgresDumpTools
  let order: TableOrder
  let past: RunningCompute
  let live: RunningCompute
  let directory: String

  /// Rows for a table that is there, or a table with its rows.
  private enum Way { case rows, table }

  /// - Parameter role: owns what comes back until its owners get it; made here, removed by the caller.
  /// - Returns: what the user should know; all is committed then.
  func run(as role: RestoreRole) throws -> [String] {
    let (before, now) = try (
      tools.connect(past, order.database), tools.connect(live, order.database)
    )
    let clusters = try (tools.connect(past, "postgres"), tools.connect(live, "postgres"))
    defer { for each in [before, now, clusters.0, clusters.1] { each.close() } }
    let table = try PastTable(TableName(order.table), before)
    let way = try way(table, now)
    var random = SystemRandomNumberGenerator()
    let reader = RestoreRole(operation: order.operation, random: &random)
    try reader.make(clusters.0)
    let made = try makeOwners(table, before, clusters.1)
    try role.make(clusters.1)
    for (cluster, each) in [(clusters.0, reader), (clusters.1, role)] {
      try cluster.query(
        "GRANT TEMPORARY ON DATABASE \(try SQL.identifier(order.database)) "
          + "TO \(try SQL.identifier(each.name))")
    }
    let rows = RowTransfer(
      recovery: self, reader: reader, encoding: try RowTransfer.encoding(before, now))
    return made
      + (try way == .rows
        ? bringRows(table, before, now, rows, role) : bring(table, before, now, rows, role))
  }

  private func way(_ table: PastTable, _ now: PostgresConnection) throws -> Way {
    let name = order.newName ?? table.name
    guard try PastTable.exists(table.schema, name, now) else { return .table }
    if order.newName == nil, order.condition != nil { return .rows }
    throw DumpError(
      "recover table '\(table.schema).\(table.name)': '\(table.schema).\(name)' is there already",
      hint: order.newName == nil
        ? "name the new table with 'as', or give a condition 'where' to bring missing rows back"
        : "choose another name")
  }

  private func makeOwners(
    _ table: PastTable, _ before: PostgresConnection, _ cluster: PostgresConnection
  ) throws -> [String] {
    let place = RestorePlace(
      order: RestoreOrder(
        dump: "", project: order.project, operation: order.operation, database: order.database,
        tables: nil, owner: ""),
      source: try SourceRead(tools: tools, compute: past, database: order.database).run(),
      cluster: cluster)
    return try place.makeRoles(try table.owners(before))
  }

  func script(_ role: RestoreRole) throws -> RestoreScript {
    try RestoreScript(
      binaries: tools.binaries, prefix: try tools.identityPrefix(order.project),
      scratch: directory,
      connection: tools.connectionString(live, order.database, user: role.name),
      password: role.password, key: role.password)
  }

  // MARK: a whole table

  private func bring(
    _ table: PastTable, _ before: PostgresConnection, _ now: PostgresConnection,
    _ transfer: RowTransfer, _ role: RestoreRole
  ) throws -> [String] {
    let ties = try TableTies(table, before)
    var notes = try table.incomingKeys(before).map {
      "not restored: the foreign key '\($0)' of another table that points to it"
    }
    notes += try table.remarks(before, ofRows: false)
    notes += try table.missingViews(before, now)
    notes += try ties.loosen(isRenamed: order.newName != nil, before, now)
    let taken = try PastTable.names(table.schema, now)
    let renamed = try TableRenaming(table: table, newName: order.newName, taken: taken).run(before)
    let archive = try dump(renamed, try RowTransfer.encoding(of: before))
    let bonds = try ties.bonds(of: renamed, before)
    let entries = try RestoreRun.contents(archive, .custom).entries.filter {
      order.newName == nil || !bonds.include($0)
    }
    let script = try script(role)
    defer { script.abandon() }
    let grants = try SchemaGrants(entries, owner: try RestoreRun.owner(of: now), now)
    for schema in grants.missing {
      try script.write("CREATE SCHEMA \(try SQL.identifier(schema));\n")
      notes.append("schema '\(schema)' was made")
    }
    try script.write(grants.onDatabase + grants.granting)
    let attempted = entries.filter { RestoreRun.mayFail($0) || bonds.include($0) }
    let late = entries.filter { RestoreScript.lateKinds.contains($0.kind) }
    let skipped = Set((attempted + late).map(\.id))
    let rest = entries.filter { !skipped.contains($0.id) }
    try script.write(rest.filter { $0.section != .postData }, of: archive)
    var rows = 0
    for leaf in renamed.leaves { rows += try transfer.copy(leaf, of: table.name, to: script) }
    try script.write(rest.filter { $0.section == .postData }, of: archive)
    try script.write(grants.revoking)
    try script.write(late, of: archive)
    try script.attempt(attempted)
    for statistics in try ExtendedStatistics.all(of: renamed, before) {
      try script.attempt(
        statistics.definition, otherwise: "not restored: extended statistics '\(statistics.name)'")
    }
    try script.write(RestoreRole.marking)
    notes += try script.commit()
    return ["\(rows) rows are in '\(table.schema).\(renamed.name)'"] + notes
  }

  /// The table's definition without rows, and its sequences' values.
  private func dump(_ table: RenamedTable, _ encoding: String) throws -> String {
    let archive = "\(directory)/table.dump"
    let patterns = try table.relations.map {
      try "\(SQL.identifier(table.schema)).\(SQL.identifier($0))"
    }
    let program = try ChildProgram(
      "\(tools.binaries)/pg_dump",
      [
        "--format=custom", "--no-password", "--file", archive,
        // Names are given to it in UTF-8, and read from the archive as such.
        "--encoding=\(RowTransfer.readable(encoding))",
      ]
        + patterns.flatMap { ["--table=\($0)", "--exclude-table-data=\($0)"] }
        + [
          "--dbname", tools.connectionString(past, order.database, user: tools.superuser(of: past)),
        ],
      errors: "\(directory)/table.err")
    try program.check("read table '\(order.table)'")
    return archive
  }
}
