import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

/// `exzo support`: tickets to the operator, and the bundle that goes with them.
struct SupportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "support", abstract: "Lists, opens and answers support tickets.",
    subcommands: [List.self, Open.self, Answer.self, Bundle.self], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.SupportTicket>] = [
    Column("ID") { $0.id }, Column("STATE") { $0.state }, Column("SUBJECT") { $0.subject },
    Column("UPDATED") { RFC3339.text($0.updatedAt) },
    Column("LAST MESSAGE") { $0.messages.last?.text ?? "" },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists tickets: one's own, or all for the operator.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["support", "tickets"]), as: API.SupportTicketsResponse.self)
      try session.show(answer, rows: answer.value.tickets, columns)
    }
  }

  struct Open: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Opens a ticket (plan pro).")
    @OptionGroup var options: ClientOptions
    @Option(help: "What it is about, in a line.") var subject: String
    @Option(help: "The question.") var text: String
    @Flag(help: "Send the support bundle with it.") var bundle = false

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .post, ["support", "tickets"],
        body: API.SupportTicketCreateRequest(
          ticket: .init(subject: subject, text: text, includesBundle: bundle)))
      try await SupportCommand.send(request, session)
    }
  }

  struct Answer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Adds to a ticket, as its owner or as the operator, or closes it.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The ticket's id.") var id: String
    @Option(help: "What to add.") var text: String?
    @Flag(help: "The ticket is done.") var close = false

    func validate() throws {
      if text == nil, !close { throw ValidationError("Give --text or --close.") }
    }

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .post, ["support", "tickets", id, "messages"],
        body: API.SupportMessageRequest(message: .init(text: text, closes: close ? true : nil)))
      try await SupportCommand.send(request, session)
    }
  }

  private static func send(_ request: APIRequest, _ session: ClientSession) async throws {
    let answer = try await session.client.send(request, as: API.SupportTicketResponse.self)
    try session.show(answer, rows: [answer.value.ticket], columns)
  }

  struct Bundle: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints the support bundle, as it would be sent: read it before.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["support", "bundle"]), as: API.SupportBundle.self)
      print(
        options.output == .yaml ? try Output.yaml(answer.json) : try Output.json(answer.json),
        terminator: "")
    }
  }
}
