import APIClient
import ArgumentParser
import CommandLineTool
import Foundation

/// The root command. Verbs that run or stop a server stand beside those of the API client.
@main
struct ExzoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exzo", abstract: "A Postgres platform whose every past moment opens as a branch.",
    subcommands: [
      ServeCommand.self, ShutdownCommand.self, StoreCommand.self, AgentCommand.self,
    ] + clientVerbs)

  /// Verbs that talk to a server's API.
  static let clientVerbs: [any ParsableCommand.Type] = [
    ProjectsCommand.self, BranchesCommand.self, EndpointsCommand.self, OperationsCommand.self,
    DatabasesCommand.self, RolesCommand.self, SnapshotsCommand.self, DumpsCommand.self,
    RecoverCommand.self, ScheduleCommand.self, ImportCommand.self,
    AttachCommand.self, DetachCommand.self, ConnectionStringCommand.self, PsqlCommand.self,
    StatusCommand.self, SetContextCommand.self,
    APIKeysCommand.self, AccountsCommand.self, DoctorCommand.self,
    VerifyCommand.self, DrillsCommand.self, AlertsCommand.self,
  ]

  static func main() async {
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      end(with: error)
    }
  }

  /// Prints `error` and exits: help and success 0, wrong usage 2, everything else 1.
  private static func end(with error: any Error) -> Never {
    switch error {
    case let error as APIClientError: fail("\(error)")
    case let error as CommandError: fail("\(error)")
    case let error as ExitCode: Foundation.exit(error.rawValue)
    default: break
    }
    let code = exitCode(for: error)
    if code == .success {
      print(fullMessage(for: error))
      Foundation.exit(ExitStatus.success)
    }
    if code == .validationFailure {
      printError(fullMessage(for: error))
      Foundation.exit(ExitStatus.usage)
    }
    fail("\(error)")
  }

  private static func fail(_ text: String) -> Never {
    printError("exzo: \(text)")
    Foundation.exit(ExitStatus.failure)
  }
}

/// One line for people, apart from what programs read.
func printError(_ line: String) {
  FileHandle.standardError.write(Data("\(line)\n".utf8))
}
