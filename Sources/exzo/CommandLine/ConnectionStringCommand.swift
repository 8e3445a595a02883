import APIClient
import ArgumentParser
import CommandLineTool

/// Which database of which branch, as whom.
struct ConnectionOptions: ParsableArguments {
  @Option(help: "The database; by default the branch's first.") var database: String?
  @Option(help: "The role; by default the database's owner.") var role: String?
  @Flag(help: "Through the connection pool.") var pooled = false
}

struct ConnectionStringCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connection-string", abstract: "Prints how to connect to a branch.")
  @OptionGroup var options: ClientOptions
  @OptionGroup var connection: ConnectionOptions
  @Argument(help: "The branch's name or id.") var branch: String?

  func run() async throws {
    let session = try options.session()
    let project = try await session.project()
    let answer = try await session.lookup.connectionURI(
      branch: session.branch(branch, project: project), project: project,
      database: connection.database, role: connection.role, isPooled: connection.pooled)
    guard options.output != .table else { return print(answer.value.uri) }
    try session.show(answer, rows: [answer.value.uri], [Column("URI") { $0 }])
  }
}
