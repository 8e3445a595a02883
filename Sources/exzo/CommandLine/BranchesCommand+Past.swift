import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

extension BranchesCommand {
  struct Recover: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Brings back a branch that was deleted within seven days.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's id, or the name that it had.") var branch: String

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.lookup.deletedBranch(branch, project: project)
      let request = APIRequest(.post, ["projects", project, "branches", id, "recover"])
      let answer = try await session.client.send(request, as: API.BranchRecoverResponse.self)
      try session.show(answer, rows: [answer.value.branch], columns)
    }
  }

  struct FinalizeRestore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lets a branch made from a snapshot take the place of the one it restores.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The restored branch's name or id.", completion: .branches) var branch: String
    @Option(help: "The name that the replaced branch gets.") var name: String?
    @Flag(help: "Replace a protected branch, too.") var force = false

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      let request = try session.request(
        .post, ["projects", project, "branches", id, "finalize_restore"],
        body: API.FinalizeRestoreRequest(name: name, force: force ? true : nil))
      let answer = try await session.client.send(request, as: API.OperationsResponse.self)
      try await session.wait(for: answer.value.operations)
      let shown = try await session.client.send(
        APIRequest(.get, ["projects", project, "branches", id]), as: API.BranchResponse.self)
      try session.show(shown, rows: [shown.value.branch], columns)
    }
  }

  struct SchemaDiff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Compares the schemas of two branches, at their heads or at any moment.",
      discussion: """
        Each side is BRANCH, BRANCH@TIME or BRANCH@LSN. Examples:
          exzo branches schema-diff main dev
          exzo branches schema-diff main@2026-11-23T10:00:00Z main
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "What is compared with.") var base: String
    @Argument(help: "What is looked at; the base's parent branch if absent.") var other: String?
    @Option(help: "The database; the branch's first if absent.") var database: String?

    func validate() throws {
      try MomentReference.check(base)
      if let other { try MomentReference.check(other) }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      // One side alone is compared with its parent.
      let sides = try [other.map { _ in base }, other ?? base].map { text in
        try text.map { try MomentReference($0) }
      }
      guard let looked = sides[1] else { return }
      let branch = try await session.branch(looked.branch, project: project)
      var query: [(name: String, value: String)] = Self.moment(looked.moment, prefix: "")
      if let base = sides[0] {
        query.append(
          ("base_branch_id", try await session.branch(base.branch, project: project).id))
        query += Self.moment(base.moment, prefix: "base_")
      }
      let name: String
      if let database {
        name = database
      } else {
        name = try await first(of: branch, project, session)
      }
      query.append(("db_name", name))
      let request = APIRequest(
        .get, ["projects", project, "branches", branch.id, "compare_schema"], query: query)
      let answer = try await session.client.send(
        request, as: API.BranchSchemaCompareResponse.self)
      guard options.output == .table else {
        return try session.show(answer, rows: [branch], columns)
      }
      print(answer.value.diff ?? "", terminator: "")
    }

    private static func moment(
      _ moment: MomentReference.Moment?, prefix: String
    ) -> [(name: String, value: String)] {
      switch moment {
      case .lsn(let lsn): [("\(prefix)lsn", lsn)]
      case .timestamp(let date): [("\(prefix)timestamp", RFC3339.text(date))]
      case nil: []
      }
    }

    private func first(
      of branch: API.Branch, _ project: String, _ session: ClientSession
    ) async throws -> String {
      let request = APIRequest(.get, ["projects", project, "branches", branch.id, "databases"])
      let all = try await session.client.send(request, as: API.DatabasesResponse.self).value
      guard let first = all.databases.first else {
        throw CommandError("branch '\(branch.name)' has no database", hint: "Give --database.")
      }
      return first.name
    }
  }
}
