import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

struct APIKeysCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "api-keys", abstract: "Lists, makes and revokes API keys.",
    subcommands: [List.self, Create.self, Revoke.self, ResetAdminCommand.self],
    defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists API keys.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(APIRequest(.get, ["api_keys"]), as: [API.Key].self)
      try session.show(
        answer, rows: answer.value,
        [
          Column("ID") { "\($0.id)" }, Column("NAME") { $0.name },
          Column("CREATED") { RFC3339.text($0.createdAt) },
          Column("LAST USED") { $0.lastUsedAt.map { RFC3339.text($0) } ?? "never" },
        ])
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes an API key and shows it, once.")
    @OptionGroup var options: ClientOptions
    @Option(help: "What the key is for.") var name: String

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .post, ["api_keys"], body: API.KeyCreateRequest(keyName: name))
      let answer = try await session.client.send(request, as: API.CreatedKey.self)
      try session.show(
        answer, rows: [answer.value],
        [
          Column("ID") { "\($0.id)" }, Column("NAME") { $0.name }, Column("KEY") { $0.key },
        ])
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Revokes an API key.", aliases: ["delete"])
    @OptionGroup var options: ClientOptions
    @Argument(help: "The key's id.") var id: Int

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.delete, ["api_keys", "\(id)"])
      let answer = try await session.client.send(request, as: API.RevokedKey.self)
      try session.show(
        answer, rows: [answer.value],
        [
          Column("ID") { "\($0.id)" }, Column("NAME") { $0.name },
          Column("STATE") { _ in "revoked" },
        ])
    }
  }
}
