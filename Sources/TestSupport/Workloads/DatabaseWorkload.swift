/// Databases made by both strategies, filled and dropped.
///
/// `CREATE DATABASE` is no part of a transaction, so what is about to happen is written before and
/// what has
/// happened after: only databases in between may be there or not.
public struct DatabaseWorkload: Workload {
  public let name = "databases"
  public init() {}

  public let preparation = "CREATE TABLE known (name text PRIMARY KEY, state text, rows int)"

  public let checks = [
    ConsistencyCheck(
      "every ready database exists",
      """
      SELECT coalesce(bool_and(name IN (SELECT datname FROM pg_database)), true)
      FROM known WHERE state = 'ready'
      """),
    ConsistencyCheck(
      "no database exists that is not written down",
      "SELECT NOT EXISTS (SELECT 1 FROM pg_database WHERE datname LIKE 'exzo\\_w%' "
        + "AND datname NOT IN (SELECT name FROM known))"),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let ready = try step.session.execute(
      "SELECT name FROM known WHERE state = 'ready' AND name LIKE 'exzo_w\(step.worker)\\_%' ORDER BY 1"
    )
    if let oldest = ready.first, ready.count > 2 {
      try step.session.execute("UPDATE known SET state = 'dropping' WHERE name = '\(oldest)'")
      try step.session.execute("DROP DATABASE \(oldest) WITH (FORCE)")
      return try step.commit("DELETE FROM known WHERE name = '\(oldest)'")
    }
    let database = "exzo_w\(step.worker)_\(step.number)_\(step.random.pick(1...1_000_000))"
    let strategy = step.random.oneIn(2) ? "wal_log" : "file_copy"
    let rows = step.random.pick(1...3000)
    try step.session.execute("INSERT INTO known VALUES ('\(database)', 'making', \(rows))")
    try step.session.execute(
      "CREATE DATABASE \(database) STRATEGY = \(strategy) TEMPLATE template0")
    let current = try step.session.execute("SELECT current_database()").first ?? "postgres"
    try step.session.execute("\\connect \(database)")
    try step.session.execute(
      """
      CREATE TABLE filled AS SELECT n, md5(n::text) AS hash FROM generate_series(1, \(rows)) AS n;
      CREATE INDEX ON filled (hash)
      """)
    try step.session.execute(
      "\\connect \(current)\nSET search_path = \(name), public; SET client_min_messages = error")
    try step.commit("UPDATE known SET state = 'ready' WHERE name = '\(database)'")
  }

  /// Every ready database opens and holds the rows written down.
  public func furtherFailures(on server: ServerConnection) throws -> [String] {
    let known = try server.psql("SELECT name, rows FROM databases.known WHERE state = 'ready'")
    return try known.split(separator: "\n").compactMap { line in
      let parts = line.split(separator: "|").map(String.init)
      do {
        let rows = try server.with(database: parts[0]).psql(
          "SELECT count(*) FROM filled WHERE hash = md5(n::text)")
        return rows == parts[1] ? nil : "databases: \(parts[0]) has \(rows) of \(parts[1]) rows"
      } catch let failure as CommandFailure {
        return "databases: \(parts[0]) does not open: \(failure)"
      }
    }
  }
}
