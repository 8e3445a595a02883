import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

struct RolesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "roles", abstract: "Lists and makes a branch's roles, shows and resets passwords.",
    subcommands: [List.self, Create.self, Delete.self, Password.self, ResetPassword.self],
    defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Role>] = [
    Column("NAME") { $0.name }, Column("PROTECTED") { $0.isProtected == true ? "yes" : "no" },
    Column("CREATED") { RFC3339.text($0.createdAt) },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a branch's roles.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "roles")
      let answer = try await session.client.send(
        APIRequest(.get, path), as: API.RolesResponse.self)
      try session.show(answer, rows: answer.value.roles, columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a role and shows its password.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Flag(help: "The role cannot log in.") var noLogin = false
    @Argument(help: "The new role's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "roles")
      let body = API.RoleCreateRequest(
        role: API.NewRole(name: name, noLogin: noLogin ? true : nil))
      try await RolesCommand.send(
        try session.request(.post, path, body: body), session, showsPassword: true)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Drops a role.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Argument(help: "The role's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "roles", name)
      try await RolesCommand.send(APIRequest(.delete, path), session)
    }
  }

  struct Password: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows a role's password.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Argument(help: "The role's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "roles", name, "reveal_password")
      let answer = try await session.client.send(
        APIRequest(.get, path), as: API.RolePasswordResponse.self)
      try session.show(
        answer, rows: [answer.value],
        [Column("ROLE") { _ in name }, Column("PASSWORD") { $0.password }])
    }
  }

  struct ResetPassword: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Gives a role a new password and shows it; open sessions stay.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var place: BranchOption
    @Argument(help: "The role's name.") var name: String

    func run() async throws {
      let session = try options.session()
      let path = try await place.path(session, "roles", name, "reset_password")
      try await RolesCommand.send(APIRequest(.post, path), session, showsPassword: true)
    }
  }

  private static func send(
    _ request: APIRequest, _ session: ClientSession, showsPassword: Bool = false
  ) async throws {
    let answer = try await session.client.send(request, as: API.RoleOperations.self)
    try await session.wait(for: answer.value.operations)
    let password = Column<API.Role>("PASSWORD") { $0.password ?? "-" }
    try session.show(
      answer, rows: [answer.value.role], showsPassword ? columns + [password] : columns)
  }
}

/// The branch whose roles or databases a verb is about.
struct BranchOption: ParsableArguments {
  @Option(
    help: "The branch: name or id; by default the saved one, or the default one.",
    completion: .branches) var branch: String?

  func path(_ session: ClientSession, _ rest: String...) async throws -> [String] {
    let project = try await session.project()
    let id = try await session.branch(branch, project: project).id
    return ["projects", project, "branches", id] + rest
  }

  /// The branch's role where there is but one.
  func onlyRole(_ session: ClientSession) async throws -> String {
    let roles = try await session.client.send(
      APIRequest(.get, try await path(session, "roles")), as: API.RolesResponse.self
    ).value.roles
    guard roles.count == 1 else {
      throw CommandError(
        "make a database: the branch has \(roles.count) roles",
        hint: "Name its owner with --owner: \(roles.map(\.name).joined(separator: ", ")).")
    }
    return roles[0].name
  }
}
