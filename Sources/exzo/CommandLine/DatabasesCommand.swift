import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

struct DatabasesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "databases", abstract: "Lists, makes and changes a branch's databases.",
    subcommands: [List.self, Create.self, Update.self, Delete.self],
    defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Database>] = [
    Column("NAME") { $0.name }, Column("OWNER") { $0.ownerName },
    Column("CREATED") { RFC3339.text($0.createdAt) },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a branch's databases.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "databases")
      let answer = try await session.client.send(
        APIRequest(.get, path), as: API.DatabasesResponse.self)
      try session.show(answer, rows: answer.value.databases, columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Makes a database.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Option(help: "The role that owns it; by default the branch's only one.") var owner: String?
    @Argument(help: "The new database's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "databases")
      let role: String
      if let owner { role = owner } else { role = try await place.onlyRole(session) }
      let body = API.DatabaseCreateRequest(database: API.NewDatabase(name: name, ownerName: role))
      try await DatabasesCommand.send(try session.request(.post, path, body: body), session)
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Renames a database or gives it to another role.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Argument(help: "The database's name.") var name: String
    @Option(help: "Its new name.") var newName: String?
    @Option(help: "Its new owner.") var owner: String?

    func validate() throws {
      if newName == nil, owner == nil { throw ValidationError("Give --new-name or --owner.") }
    }

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "databases", name)
      let body = API.DatabaseUpdateRequest(
        database: API.DatabaseUpdate(name: newName, ownerName: owner))
      try await DatabasesCommand.send(try session.request(.patch, path, body: body), session)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Drops a database; the branch's past keeps it.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Argument(help: "The database's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "databases", name)
      try await DatabasesCommand.send(APIRequest(.delete, path), session)
    }
  }

  private static func send(_ request: APIRequest, _ session: ClientSession) async throws {
    let answer = try await session.client.send(request, as: API.DatabaseOperations.self)
    try await session.wait(for: answer.value.operations)
    try session.show(answer, rows: [answer.value.database], columns)
  }
}
