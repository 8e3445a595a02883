import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

struct OperationsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "operations", abstract: "Shows what the control plane does and did.",
    subcommands: [List.self, Get.self], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Operation>] = [
    Column("ID") { $0.id }, Column("WHAT") { $0.kind ?? $0.action.rawValue },
    Column("STATUS") { $0.status.rawValue },
    Column("TOOK") { "\($0.totalDurationMilliseconds) ms" },
    Column("CREATED") { RFC3339.text($0.createdAt) }, Column("ERROR") { $0.error ?? "" },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists a project's operations, the newest first.")
    @OptionGroup var options: ClientOptions
    @Option(help: "How many to show.") var limit = 50

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(
        .get, ["projects", try await session.project(), "operations"],
        query: [("limit", "\(limit)")])
      let answer = try await session.client.send(request, as: API.OperationListResponse.self)
      try session.show(answer, rows: answer.value.operations, columns)
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows an operation.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The operation's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "operations", id])
      let answer = try await session.client.send(request, as: API.OperationResponse.self)
      try session.show(answer, rows: [answer.value.operation], columns)
    }
  }
}
