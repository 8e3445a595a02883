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
    raiseFileLimit()
    // Serve asks over the control socket; a terminal's interrupt is not ours.
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    var log = Logger(label: "agent")
    log.logLevel = .info
    try await Agent(directory: directory, log: log).run()
  }
}

/// Lets the process have as many open files as it may: each layer and chunk that is read from a local store is one.
func raiseFileLimit() {
  var limit = rlimit()
  let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
  limit.rlim_cur = limit.rlim_max
  // Never refused below the hard limit.
  setrlimit(resource, &limit)
}
