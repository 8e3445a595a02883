import ArgumentParser
import CommandLineTool
import Foundation

struct SetContextCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-context", abstract: "Saves the project and branch that commands default to.",
    discussion: "Without --here it holds everywhere; with it, below the current directory.")
  @Option(help: "The project's id.", completion: .projects) var projectID: String?
  @Option(help: "The branch's name or id.", completion: .branches) var branch: String?
  @Flag(help: "Save in ./.exzo.") var here = false

  func run() async throws {
    let directory = FileManager.default.currentDirectoryPath
    let home = ProcessInfo.processInfo.environment["HOME"]
    guard here || home != nil else {
      throw CommandError("HOME is not set", hint: "Use --here.")
    }
    let path =
      here
      ? "\(directory)/\(SavedContext.fileName)" : SavedContext.userPath(home: home ?? "")
    try SavedContext(projectID: projectID, branch: branch).save(to: path)
    printError("saved in \(path)")
  }
}
