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
    commandName: "connection-string",
    abstract: "Prints how to connect to a branch, or to read a moment of it.")
  @OptionGroup var options: ClientOptions
  @OptionGroup var connection: ConnectionOptions
  @Argument(help: "BRANCH, BRANCH@TIME or BRANCH@LSN: name or id.", completion: .branches)
  var branch: String?

  func validate() throws { if let branch { try MomentReference.check(branch) } }

  func run() async throws {
    let session = try options.session()
    let project = try await session.project()
    let reference = try branch.map { try MomentReference($0) }
    let answer = try await session.lookup.connectionURI(
      branch: session.branch(reference?.branch, project: project), project: project,
      database: connection.database, role: connection.role, isPooled: connection.pooled,
      moment: reference?.moment)
    guard options.output != .table else { return print(answer.value.uri) }
    try session.show(answer, rows: [answer.value.uri], [Column("URI") { $0 }])
  }
}
