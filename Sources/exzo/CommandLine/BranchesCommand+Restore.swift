import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

extension BranchesCommand {
  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Puts a branch, in place, into the state of a moment.",
      discussion: """
        SOURCE is BRANCH, BRANCH@TIME or BRANCH@LSN; ^self and ^parent stand for the branch and its
        parent. Example:
          exzo branches restore main ^self@2026-11-23T10:00:00Z --preserve-under-name main-old
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch to restore: name or id.", completion: .branches) var branch: String
    @Argument(help: "The state to take.") var source: String
    @Option(help: "Keep the present state as a branch of this name.")
    var preserveUnderName: String?
    @Flag(help: "Restore a protected branch, too.") var force = false

    func validate() throws { try MomentReference.check(source) }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let target = try await session.branch(branch, project: project)
      let reference = try MomentReference(source)
      let body = API.BranchRestoreRequest(
        sourceBranchID: try await sourceID(reference, target, session, project: project),
        moment: reference.moment, preserveUnderName: preserveUnderName, force: force)
      let request = try session.request(
        .post, ["projects", project, "branches", target.id, "restore"], body: body)
      try await BranchesCommand.send(request, session)
    }

    private func sourceID(
      _ reference: MomentReference, _ target: API.Branch, _ session: ClientSession, project: String
    ) async throws -> String {
      switch reference.branch {
      case "^self": return target.id
      case "^parent": return try BranchesCommand.parent(of: target)
      default: return try await session.branch(reference.branch, project: project).id
      }
    }
  }

  struct Reset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Puts a branch into the present state of its parent.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String
    @Flag(help: "Required: the parent is the only source.") var parent = false
    @Option(help: "Keep the present state as a branch of this name.")
    var preserveUnderName: String?
    @Flag(help: "Reset a protected branch, too.") var force = false

    func validate() throws {
      if !parent { throw ValidationError("Give --parent: the branch takes its parent's state.") }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let target = try await session.branch(branch, project: project)
      let body = API.BranchRestoreRequest(
        sourceBranchID: try BranchesCommand.parent(of: target), moment: nil,
        preserveUnderName: preserveUnderName, force: force)
      let request = try session.request(
        .post, ["projects", project, "branches", target.id, "restore"], body: body)
      try await BranchesCommand.send(request, session)
    }
  }

  private static func parent(of branch: API.Branch) throws -> String {
    guard let parent = branch.parentID else {
      throw CommandError(
        "branch '\(branch.name)' has no parent", hint: "Name a moment: ^self@TIME or ^self@LSN.")
    }
    return parent
  }
}
