import ArgumentParser
import CommandLineTool
import Foundation

struct PsqlCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "psql", abstract: "Opens psql on a branch.",
    discussion: """
      A moment opens a session that reads the past and cannot write. What follows -- goes to psql:
        exzo psql main -- -c 'SELECT 1'
        exzo psql main@2026-11-23T10:00Z
        exzo psql main@0/1A2B3C
      """)
  @OptionGroup var options: ClientOptions
  @OptionGroup var connection: ConnectionOptions
  @Argument(help: "BRANCH, BRANCH@TIME or BRANCH@LSN: name or id.", completion: .branches)
  var branch: String?
  @Argument(parsing: .postTerminator, help: "Arguments for psql.") var arguments: [String] = []

  func validate() throws { if let branch { try MomentReference.check(branch) } }

  func run() async throws {
    let session = try options.session()
    let project = try await session.project()
    let reference = try branch.map { try MomentReference($0) }
    let uri = try await session.lookup.connectionURI(
      branch: session.branch(reference?.branch, project: project), project: project,
      database: connection.database, role: connection.role, isPooled: connection.pooled,
      moment: reference?.moment
    ).value.uri
    let split = ConnectionURI(uri)
    // The password goes by the environment: other users can read a command line.
    if let password = split.password { setenv("PGPASSWORD", password, 1) }
    var words = (["psql", split.withoutPassword] + arguments).map { strdup($0) } + [nil]
    execvp("psql", &words)
    throw CommandError(
      "start psql: \(String(cString: strerror(errno)))",
      hint: "Install PostgreSQL's client programs (postgresql-client).")
  }
}
