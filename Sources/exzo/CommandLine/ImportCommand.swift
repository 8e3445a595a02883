import APITypes
import ArgumentParser
import CommandLineTool
import Dumps
import Foundation
import PostgresClient

struct ImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Brings a database from another server into a branch.",
    discussion: """
      Reads the source from one snapshot with pg_dump, in parallel, and nothing there is changed or
      waits. Afterwards row counts and contents of every table are compared. Everything belongs to
      the role that imports; grants and roles are not brought along. Example:
        exzo import 'postgresql://app@old-host/app?sslmode=require' --branch main --database app
      The source's password: in the URI, or in PGPASSWORD.
      """)
  @OptionGroup var options: ClientOptions
  @Argument(help: "The source: postgresql://user@host:port/database?sslmode=…") var source: String
  @Option(
    help: "The branch: name or id; by default the saved one, or the default one.",
    completion: .branches) var branch: String?
  @Option(help: "The database, which must be empty; by default the branch's only one.")
  var database: String?
  @Option(help: "The role that everything will belong to; by default the database's owner.")
  var role: String?
  @Option(help: "Connections that read and write at the same time.") var jobs = 4
  @Option(help: "Where the compressed copy lies meanwhile (default: TMPDIR or /tmp).")
  var scratch: String?

  func validate() throws {
    guard (1...64).contains(jobs) else { throw ValidationError("--jobs takes 1 to 64.") }
  }

  func run() async throws {
    let session = try options.session()
    let project = try await session.project()
    let uri = try await session.lookup.connectionURI(
      branch: session.branch(branch, project: project), project: project, database: database,
      role: role, isPooled: false, moment: nil
    ).value.uri
    let environment = ProcessInfo.processInfo.environment
    var from = try Self.parameters(source)
    if from.password == nil { from.password = environment["PGPASSWORD"] }
    let job = DatabaseImport(
      source: from, target: try Self.parameters(uri), jobs: jobs,
      scratch: scratch ?? environment["TMPDIR"] ?? "/tmp", programs: { try Self.programs($0) },
      progress: { printError($0) })
    let result: API.DumpVerification
    do {
      result = try await Task.detached { try job.run() }.value
    } catch let error as PostgresError {
      throw CommandError("import: \(error)")
    }
    try show(result)
  }

  private func show(_ result: API.DumpVerification) throws {
    for note in result.notes { printError("note: \(note)") }
    if options.output == .json {
      print(String(decoding: try APICoding.encode(result), as: UTF8.self))
    } else {
      print("\(result.tables) tables with \(result.rows) rows compared")
    }
    guard result.status == .passed else {
      throw CommandError(
        "import: what came differs from the source:\n  "
          + result.differences.joined(separator: "\n  "),
        hint: "The database keeps what came; drop it before another try.")
    }
  }

  private static func parameters(_ text: String) throws -> ConnectionParameters {
    do {
      return try ConnectionParameters(connectionString: text)
    } catch let error as PostgresError {
      throw ValidationError("\(error)")
    }
  }

  /// Of the oldest installation that is no older than the servers: pg_dump reads servers up to its
  /// own version, and what a newer one writes may be unknown to an older server.
  private static func programs(_ major: Int) throws -> String {
    let root = "/usr/lib/postgresql"
    // No such directory is no installation.
    let majors = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
      .compactMap { Int($0) }.sorted()
    let found = majors.first {
      $0 >= major
        && FileManager.default.isExecutableFile(atPath: "\(root)/\($0)/bin/pg_dump")
    }
    guard let found else {
      throw CommandError(
        "import: no pg_dump of PostgreSQL \(major) or later is below \(root)",
        hint: "Install the package postgresql-client-\(major).")
    }
    return "\(root)/\(found)/bin"
  }
}
