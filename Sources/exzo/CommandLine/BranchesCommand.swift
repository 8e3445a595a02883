import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct BranchesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "branches", abstract: "Lists, makes, changes and restores branches.",
    subcommands: [
      List.self, Get.self, Create.self, Update.self, Delete.self, SetDefault.self, Restore.self,
      Reset.self, Recover.self, SchemaDiff.self, FinalizeRestore.self, Timeline.self,
    ], defaultSubcommand: List.self)

  static let columns: [Column<API.Branch>] = [
    Column("ID") { $0.id }, Column("NAME") { $0.name },
    Column("DEFAULT") { $0.isDefault ? "yes" : "" },
    Column("PARENT") { $0.parentID ?? "" }, Column("AT") { $0.parentLSN ?? "" },
    Column("STATE") { $0.currentState.rawValue },
    Column("CREATED") { RFC3339.text($0.createdAt) },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a project's branches.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.lookup.branches(project: session.project())
      // All pages, as one array.
      let whole = APIAnswer(value: answer.value, json: try APICoding.encode(answer.value))
      try session.show(whole, rows: answer.value, columns)
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows a branch and its restore window.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String?

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      let request = APIRequest(.get, ["projects", project, "branches", id])
      let answer = try await session.client.send(request, as: API.BranchResponse.self)
      let window: [Column<API.Branch>] = [
        Column("FROM") { $0.restoreWindow.map { RFC3339.text($0.earliestTimestamp) } ?? "" }
      ]
      try session.show(answer, rows: [answer.value.branch], columns + window)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a branch, of a head or of any moment in the window.",
      discussion: """
        Examples:
          exzo branches create --name dev
          exzo branches create --name before --parent main@2026-11-23T10:00:00Z
          exzo branches create --name exact --parent main@0/1A2B3C
        """)
    @OptionGroup var options: ClientOptions
    @Option(help: "The branch's name.") var name: String?
    @Option(
      help: "BRANCH, BRANCH@TIME or BRANCH@LSN; the default branch's head if absent.",
      completion: .branches) var parent: String?
    @Flag(name: .customLong("no-compute"), help: "Make no endpoint.") var hasNoCompute = false
    @Flag(name: .customLong("protected"), help: "Protect it.") var isProtected = false
    @Option(help: "When it deletes itself.") var expiresAt: TimeArgument?
    @Flag(help: "Copy the schema, no rows.") var schemaOnly = false

    func validate() throws { if let parent { try MomentReference.check(parent) } }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let reference = try parent.map { try MomentReference($0) }
      // Not the saved branch: without --parent it is the default one, as in the API.
      let parentID = try await session.lookup.branch(reference?.branch, project: project).id
      var new = API.NewBranch(
        name: name, parentID: parentID, moment: reference?.moment, isProtected: isProtected,
        expiresAt: expiresAt?.date)
      if schemaOnly { new.initSource = "schema-only" }
      let body = API.BranchCreateRequest(
        endpoints: hasNoCompute ? nil : [.init(type: .readWrite)], branch: new)
      let request = try session.request(.post, ["projects", project, "branches"], body: body)
      var answer = try await session.client.send(request, as: API.CreatedBranch.self)
      try await session.wait(for: answer.value.operations)
      if session.waits {
        answer.value.branch = try await session.now(answer.value.branch)
        answer.json = try APICoding.encode(answer.value)
      }
      try session.show(answer, rows: [answer.value.branch], columns)
      if options.output == .table, let details = answer.value.connectionURIs?.first {
        print("\n\(details.connectionURI)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Renames or protects a branch, or sets its expiry.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String
    @Option(help: "The new name.") var name: String?
    @Flag(inversion: .prefixedNo, help: "Protect it.") var protected: Bool?
    @Option(help: "When it deletes itself.") var expiresAt: TimeArgument?
    @Flag(name: .customLong("no-expiry"), help: "Remove the expiry.") var removesExpiry = false

    func validate() throws {
      if name == nil, protected == nil, expiresAt == nil, !removesExpiry {
        throw ValidationError("Give --name, --protected, --expires-at or --no-expiry.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      let expiry: API.Patch<Date> =
        removesExpiry ? .null : expiresAt.map { .value($0.date) } ?? .absent
      let update = API.BranchUpdate(name: name, isProtected: protected, expiresAt: expiry)
      let request = try session.request(
        .patch, ["projects", project, "branches", id],
        body: API.BranchUpdateRequest(branch: update))
      try await BranchesCommand.send(request, session)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Deletes a branch; it can be recovered for seven days.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      try await BranchesCommand.send(
        APIRequest(.delete, ["projects", project, "branches", id]), session)
    }
  }

  struct SetDefault: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Makes a branch the default one.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      try await BranchesCommand.send(
        APIRequest(.post, ["projects", project, "branches", id, "set_as_default"]), session)
    }
  }

  /// Sends a request whose answer is a branch and operations, waits for them, and prints the
  /// branch.
  static func send(_ request: APIRequest, _ session: ClientSession) async throws {
    let answer = try await session.client.send(request, as: API.BranchOperations.self)
    try await session.wait(for: answer.value.operations)
    try session.show(answer, rows: [answer.value.branch], columns)
  }
}
