import ArgumentParser
import CommandLineTool
import Foundation

struct PsqlCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "psql", abstract: "Opens psql on a branch.",
    discussion: "What follows -- goes to psql: exzo psql main -- -c 'SELECT 1'")
  @OptionGroup var options: ClientOptions
  @OptionGroup var connection: ConnectionOptions
  @Argument(help: "The branch's name or id.") var branch: String?
  @Argument(parsing: .postTerminator, help: "Arguments for psql.") var arguments: [String] = []

  func run() async throws {
    let session = try options.session()
    let project = try await session.project()
    let uri = try await session.lookup.connectionURI(
      branch: session.branch(branch, project: project), project: project,
      database: connection.database, role: connection.role, isPooled: connection.pooled
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
