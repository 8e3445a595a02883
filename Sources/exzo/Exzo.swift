import ArgumentParser

/// The one program.
@main
struct Exzo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exzo", abstract: "A self-hosted Postgres whose past can be opened.",
    subcommands: [ServeCommand.self, ShutdownCommand.self, AgentCommand.self])
}
