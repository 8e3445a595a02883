import APITypes
import PostgresClient
import PostgresFormat

/// Names of relations, by their files, on a compute that stands at the moment meant.
struct RelationNames: Sendable {
  let compute: RunningCompute

  struct Relation: Hashable, Sendable {
    var oid: UInt32
    var database: String
    var schema: String
    var name: String
    var kind: String
    var rows: Int?
    var bytes: Int

    var holdsRows: Bool {
      ["table", "partitioned table", "materialized view"].contains(kind)
    }

    var shown: API.TimelineEventDetails.Object {
      API.TimelineEventDetails.Object(
        database: database, schema: schema, name: name, type: kind, rows: rows)
    }
  }

  /// Rows are counted in relations below this, and estimated in others; bytes.
  private static let countedSize = 64 << 20

  /// Databases by OID.
  func databases() async throws -> [UInt32: String] {
    try await onConnection("postgres") { connection in
      var found: [UInt32: String] = [:]
      for row in try connection.query("SELECT oid, datname FROM pg_database").rows {
        found[try row.value("oid", as: UInt32.self)] = try row.value("datname", as: String.self)
      }
      return found
    }
  }

  /// Tables first. Files that belong to no relation are left out.
  func relations(
    _ files: [RelFileLocator], countsRows: Bool = false
  ) async throws -> [Relation] {
    let known = try await databases()
    var found: [Relation] = []
    for database in Set(files.map(\.database)).sorted() {
      guard let name = known[database] else { continue }
      let numbers = files.filter { $0.database == database }.map { String($0.relation) }
      found += try await onConnection(name) { connection in
        try Self.read(connection, name, numbers, countsRows)
      }
    }
    return found.sorted {
      ($0.holdsRows ? 0 : 1, $0.schema, $0.name) < ($1.holdsRows ? 0 : 1, $1.schema, $1.name)
    }
  }

  private static func read(
    _ connection: PostgresConnection, _ database: String, _ numbers: [String], _ countsRows: Bool
  ) throws -> [Relation] {
    let list = "{" + numbers.joined(separator: ",") + "}"
    let rows = try connection.query(query, parameters: [.text(list)]).rows
    return try rows.map { row in
      var relation = Relation(
        oid: try row.value("oid"), database: database, schema: try row.value("nspname"),
        name: try row.value("relname"), kind: try row.value("kind"),
        rows: try row.optional("rows", as: Int.self), bytes: try row.value("bytes"))
      if countsRows || relation.rows == nil, relation.holdsRows, relation.bytes < countedSize,
        try row.value("populated", as: Bool.self)
      {
        let table = "\(try SQL.identifier(relation.schema)).\(try SQL.identifier(relation.name))"
        let count = try connection.query("SELECT count(*) AS n FROM ONLY \(table)").first
        relation.rows = try count?.value("n", as: Int.self)
      }
      return relation
    }
  }

  private static let query = """
    SELECT c.oid, n.nspname, c.relname, CASE c.relkind WHEN 'r' THEN 'table'
      WHEN 'p' THEN 'partitioned table' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index'
      WHEN 'I' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'toast table'
      ELSE 'relation' END AS kind,
      CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows,
      coalesce(pg_relation_size(c.oid), 0) AS bytes, c.relispopulated AS populated
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE pg_relation_filenode(c.oid) = ANY ($1::oid[])
    """

  /// Bytes of the relations that are still there, by OID.
  func states(of relations: [Relation]) async throws -> [UInt32: Int] {
    var found: [UInt32: Int] = [:]
    let known = Set(try await databases().values)
    for database in Set(relations.map(\.database)).intersection(known).sorted() {
      let oids = relations.filter { $0.database == database }.map { String($0.oid) }
      let part = try await onConnection(database) { connection in
        try connection.query(
          "SELECT oid, coalesce(pg_relation_size(oid), 0) AS bytes FROM pg_class WHERE oid = ANY ($1::oid[])",
          parameters: [.text("{" + oids.joined(separator: ",") + "}")]
        ).rows.map { (try $0.value("oid", as: UInt32.self), try $0.value("bytes", as: Int.self)) }
      }
      for (oid, bytes) in part { found[oid] = bytes }
    }
    return found
  }

  private func onConnection<Value: Sendable>(
    _ database: String, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await compute.onSession(
      database, options: "-c statement_timeout=20s -c search_path=pg_catalog", body)
  }
}
