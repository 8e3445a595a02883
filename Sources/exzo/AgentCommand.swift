import ArgumentParser
import Compute
import Foundation
import Logging

/// Runs one compute; started by `exzo serve`, not by people.
struct AgentCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "agent", abstract: "Run one compute (started by serve).", shouldDisplay: false)

  @Option(help: "The line's directory.") var directory: String

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    // Serve asks over the control socket; a terminal's interrupt is not ours.
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    var log = Logger(label: "agent")
    log.logLevel = .info
    try await Agent(directory: directory, log: log).run()
  }
}
