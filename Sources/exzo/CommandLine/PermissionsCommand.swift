import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

/// `exzo projects permissions`: whom a project is shared with.
struct PermissionsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "permissions", abstract: "Shares a project with other accounts, by email address.",
    discussion: """
      Who has the address sees and changes what is in the project; deleting it and sharing it on stay
      with its owner. The others find it with 'exzo projects list --shared'.
      """,
    subcommands: [List.self, Grant.self, Revoke.self], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Permission>] = [
    Column("ID") { $0.id }, Column("EMAIL") { $0.grantedToEmail },
    Column("SINCE") { RFC3339.text($0.grantedAt) },
    Column("STATE") { $0.revokedAt == nil ? "granted" : "revoked" },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists whom a project is shared with.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let path = ["projects", try await session.project(), "permissions"]
      let answer = try await session.client.send(
        APIRequest(.get, path), as: API.PermissionListResponse.self)
      try session.show(answer, rows: answer.value.projectPermissions, columns)
    }
  }

  struct Grant: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shares a project.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The other account's email address.") var email: String

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .post, ["projects", try await session.project(), "permissions"],
        body: API.PermissionGrantRequest(email: email))
      let answer = try await session.client.send(request, as: API.Permission.self)
      try session.show(answer, rows: [answer.value], columns)
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Ends sharing.", aliases: ["delete"])
    @OptionGroup var options: ClientOptions
    @Argument(help: "The email address, or the permission's id.") var who: String

    func run() async throws {
      let session = try options.session()
      let path = ["projects", try await session.project(), "permissions"]
      let request =
        who.contains("@")
        ? try session.request(.delete, path, body: API.PermissionRevokeRequest(email: who))
        : APIRequest(.delete, path + [who])
      let answer = try await session.client.send(request, as: API.Permission.self)
      try session.show(answer, rows: [answer.value], columns)
    }
  }
}
