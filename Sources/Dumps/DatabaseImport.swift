import APITypes
import ControlPlane
import Foundation
import PostgresClient

/// Brings a database that lives elsewhere into an empty one here; blocks its thread.
///
/// What is read of the source comes from one snapshot of it, which nothing waits for: it stays in use.
/// Nothing is changed there.
public struct DatabaseImport {
  let source: ConnectionParameters
  let target: ConnectionParameters
  /// The directory of PostgreSQL's programs for servers up to a major version.
  let programs: (Int) throws -> String
  let jobs: Int
  /// Emptied and removed at the end.
  let scratch: String
  let progress: (String) -> Void

  /// - Parameters:
  ///   - programs: gives the directory of PostgreSQL's programs that fit servers of a major version.
  ///   - jobs: connections that read and write at the same time.
  ///   - scratch: a directory with room for the compressed database.
  ///   - progress: takes a line for people.
  public init(
    source: ConnectionParameters, target: ConnectionParameters, jobs: Int,
    scratch: String, programs: @escaping (Int) throws -> String,
    progress: @escaping (String) -> Void
  ) {
    self.source = source
    self.target = target
    self.programs = programs
    self.jobs = jobs
    self.scratch = "\(scratch)/exzo-import-\(UUID().uuidString.lowercased())"
    self.progress = progress
  }

  /// Copies, then compares row counts, contents and, between servers of one version, schemas.
  /// - Throws: ``DumpError``, ``PostgresError``; the target may then hold a part.
  public func run() throws -> API.DumpVerification {
    let files = FileManager.default
    try files.createDirectory(
      atPath: scratch, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // A directory that stays behind takes room and harms nothing else.
    defer { try? files.removeItem(atPath: scratch) }
    let from = try Self.session(source)
    defer { from.close() }
    let to = try Self.session(target)
    defer { to.close() }
    try check(to)
    let binaries = try programs(max(from.serverVersion, to.serverVersion) / 10_000)
    try from.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    guard let snapshot = try from.query("SELECT pg_export_snapshot()").first?[0] else {
      throw DumpError("import: the source gave no snapshot")
    }
    try dump(snapshot, binaries, bytes: try size(from))
    var notes = try restore(binaries)
    progress("comparing rows and contents")
    let (old, new) = (from.serverVersion / 10_000, to.serverVersion / 10_000)
    let isSameVersion = old == new
    if !isSameVersion {
      notes.append("schemas not compared: the servers are of versions \(old) and \(new)")
    }
    var before = try ContentsRead.contents(in: from)
    if isSameVersion { before.schema = try schema(source, binaries, snapshot: snapshot) }
    var after = try Self.imported(in: to)
    if isSameVersion { after.schema = try schema(target, binaries, snapshot: nil) }
    var comparison = ContentsComparison(source: before, restored: after)
    if comparison.schemaDiffers {
      comparison.expectedSchema = reprintedSchema(binaries, &notes)
    }
    return comparison.verification(at: Date(), notes: notes)
  }

  /// A session that no time limit of the server's, the database's or the role's ends: the one that holds the snapshot
  /// waits for as long as the copy takes.
  static func session(_ parameters: ConnectionParameters) throws -> PostgresConnection {
    let connection = try PostgresConnection(parameters)
    var limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if connection.serverVersion >= 140_000 { limits.append("idle_session_timeout") }
    if connection.serverVersion >= 170_000 { limits.append("transaction_timeout") }
    do {
      try connection.execute(limits.map { "SET \($0) = 0" }.joined(separator: "; "))
    } catch {
      connection.close()
      throw error
    }
    return connection
  }

  private func check(_ connection: PostgresConnection) throws {
    let row = try connection.query(
      """
      SELECT c.oid::regclass::text FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass
          AND e.objid = c.oid AND e.deptype = 'e') LIMIT 1
      """
    ).first
    guard let found = row?[0] else { return }
    throw DumpError(
      "import into database '\(target.database)': it is not empty, it holds \(found)",
      hint: "make a new database for it, or a new branch without one")
  }

  private func size(_ connection: PostgresConnection) throws -> Int {
    try connection.query("SELECT pg_database_size(current_database()) AS size").first?
      .value("size") ?? 0
  }

  private func dump(_ snapshot: String, _ binaries: String, bytes: Int) throws {
    let program = try ChildProgram(
      "\(binaries)/pg_dump",
      [
        "--format", "directory", "--jobs", "\(jobs)", "--compress", "1", "--no-owner",
        "--no-privileges", "--no-publications", "--no-subscriptions", "--snapshot", snapshot,
        "--no-password", "--file", "\(scratch)/dump", "--dbname", source.withoutPassword,
      ], environment: environment(source), errors: "\(scratch)/pg_dump.err")
    defer { program.end() }
    try watch(program, "reading \(bytes >> 20) MiB of '\(source.database)'") {
      "\(Self.bytes(in: "\(scratch)/dump") >> 20) MiB compressed"
    }
    try program.check("read the source")
  }

  /// Returns what could not be made; the comparison tells whether it matters.
  private func restore(_ binaries: String) throws -> [String] {
    let program = try ChildProgram(
      "\(binaries)/pg_restore",
      [
        "--jobs", "\(jobs)", "--no-owner", "--no-privileges", "--no-password", "--dbname",
        target.withoutPassword, "\(scratch)/dump",
      ], environment: environment(target), errors: "\(scratch)/pg_restore.err")
    defer { program.end() }
    let connection = try Self.session(target)
    defer { connection.close() }
    try watch(program, "writing '\(target.database)'") {
      "\(try size(connection) >> 20) MiB there"
    }
    let status = program.wait()
    let text = String(
      decoding: FileManager.default.contents(atPath: "\(scratch)/pg_restore.err") ?? Data(),
      as: UTF8.self)
    let failures = text.split(separator: "\n").filter { $0.contains("error: ") }.map(String.init)
    guard status == 0 || !failures.isEmpty else {
      throw DumpError(
        "write the database: pg_restore ended with status \(status): \(text.suffix(500))")
    }
    return failures.prefix(20).map { "not made: \($0)" }
  }

  /// Tells how far a program has come, twice a second to begin with and then every ten seconds.
  private func watch(
    _ program: ChildProgram, _ what: String, _ state: () throws -> String
  ) throws {
    progress(what)
    var ticks = 0
    while program.poll() == nil {
      usleep(500_000)
      ticks += 1
      if ticks % 20 == 0 { progress("\(what): \(try state())") }
    }
  }

  /// All but the schema. Policies that a table forces on its owner would hide rows from this session, which is its
  /// owner's: they are put off for as long as it reads.
  private static func imported(in connection: PostgresConnection) throws -> DatabaseContents {
    try connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
    try connection.execute("SET LOCAL lock_timeout = '30s'")
    let forced = try connection.query(
      """
      SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relrowsecurity AND c.relforcerowsecurity
        AND pg_has_role(c.relowner, 'USAGE')
      """
    ).rows.compactMap { $0[0] }
    for table in forced {
      try connection.execute("ALTER TABLE \(table) NO FORCE ROW LEVEL SECURITY")
    }
    let contents = try ContentsRead.contents(in: connection)
    try connection.execute("ROLLBACK")
    return contents
  }

  /// The statements that make a database's objects anew.
  func schema(
    _ parameters: ConnectionParameters, _ binaries: String, snapshot: String?
  ) throws -> String {
    let output = "\(scratch)/schema.sql"
    var words = [
      "--schema-only", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions",
      "--no-password", "--file", output, "--dbname", parameters.withoutPassword,
    ]
    if let snapshot { words += ["--snapshot", snapshot] }
    let program = try ChildProgram(
      "\(binaries)/pg_dump", words, environment: environment(parameters),
      errors: "\(scratch)/schema.err")
    try program.check("read the schema of '\(parameters.database)'")
    return ContentsRead.schemaText(try String(contentsOfFile: output, encoding: .utf8))
  }

  func environment(_ parameters: ConnectionParameters) -> [String: String] {
    parameters.password.map { ["PGPASSWORD": $0] } ?? [:]
  }

  private static func bytes(in directory: String) -> Int {
    let files = FileManager.default
    // Files come and go while the program works; this is only for people.
    let names = (try? files.contentsOfDirectory(atPath: directory)) ?? []
    return names.reduce(0) { sum, name in
      let size = try? files.attributesOfItem(atPath: "\(directory)/\(name)")[.size] as? Int
      return sum + (size ?? 0)
    }
  }
}
