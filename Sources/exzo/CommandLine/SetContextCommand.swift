import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct SetContextCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-context", abstract: "Saves the project and branch that commands default to.",
    discussion: """
      Without --here it holds everywhere; with it, below the current directory. --branch alone keeps
      the project; --project-id alone forgets the branch, which is another project's. Without either
      both are forgotten. The server is asked whether they are there. Examples:
        exzo set-context --project-id shiny-star-12345678
        exzo set-context --branch dev
      """)
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
    var context = SavedContext(projectID: projectID, branch: branch)
    if projectID == nil, branch != nil {
      // What --here does not name comes from where commands here have it now.
      let former = try here ? SavedContext.load(from: directory, home: home) : .read(path)
      context.projectID = former.projectID
    }
    if projectID != nil || branch != nil { try await check(&context) }
    try context.save(to: path)
    printError(
      "saved in \(path): project \(context.projectID ?? "none"), "
        + "branch \(context.branch ?? "none")")
  }

  /// - Throws: where the server does not know one of them.
  private func check(_ context: inout SavedContext) async throws {
    let location = try ServerLocator(environment: ProcessInfo.processInfo.environment).locate()
    let client = APIClient(
      server: location.host, key: location.key, transport: try location.transport())
    let lookup = ResourceLookup(client: client)
    let project = try await lookup.project(given: projectID, saved: context.projectID)
    do {
      _ = try await client.send(
        APIRequest(.get, ["projects", project]), as: API.ProjectResponse.self)
    } catch let error as APIClientError where error.status == 404 {
      throw CommandError(
        "there is no project '\(project)'", hint: "Run 'exzo projects list'.")
    }
    if let branch { _ = try await lookup.branch(branch, project: project) }
    context.projectID = project
  }
}
