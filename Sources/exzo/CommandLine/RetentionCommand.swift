import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

/// `exzo projects retention`: the window, what shrinking costs, taking a shrinking back.
struct RetentionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retention", abstract: "Shows and changes how far back restore is promised.",
    subcommands: [Show.self, Set.self, Cancel.self], defaultSubcommand: Show.self)

  fileprivate static let columns: [Column<API.RetentionStatus>] = [
    Column("ASKED FOR") { "\($0.historyRetentionSeconds) s" },
    Column("IN FORCE") { "\($0.effectiveSeconds) s" },
    Column("REACHES BACK TO") { RFC3339.text($0.earliestTimestamp) },
    Column("SHRINKS AT") { $0.pending.map { RFC3339.text($0.effectiveAt) } ?? "" },
    Column("WOULD GO") { $0.cost.map(text) ?? "" },
  ]

  fileprivate static func text(_ cost: API.RetentionCost) -> String {
    let size = cost.bytes.map { ", \($0) bytes" } ?? ""
    return "\(RFC3339.text(cost.from)) to \(RFC3339.text(cost.to))\(size)"
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows the retention window.")
    @OptionGroup var options: ClientOptions
    @Option(help: "Also tell what a window of so many seconds would take away.") var seconds: Int?

    func run() async throws {
      let session = try options.session()
      let query = seconds.map { [(name: "history_retention_seconds", value: "\($0)")] } ?? []
      let path = ["projects", try await session.project(), "retention"]
      let answer = try await session.client.send(
        APIRequest(.get, path, query: query), as: API.RetentionStatus.self)
      try session.show(answer, rows: [answer.value], columns)
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Changes the retention window; shrinking asks first and starts after an hour.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "Seconds; 0 keeps no moments.") var seconds: Int
    @Flag(name: [.customShort("y"), .long], help: "Shrink without asking.") var yes = false

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let answer = try await RetentionCommand.change(
        to: seconds, of: project, isConfirmed: yes, session)
      try session.show(answer, rows: [answer.value], columns)
    }
  }

  struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes back a shrinking that has not started.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let path = ["projects", try await session.project(), "retention", "pending"]
      let answer = try await session.client.send(
        APIRequest(.delete, path), as: API.RetentionStatus.self)
      try session.show(answer, rows: [answer.value], columns)
    }
  }

  /// Changes the window; where moments would go, says which and asks.
  static func change(
    to seconds: Int, of project: String, isConfirmed: Bool, _ session: ClientSession
  ) async throws -> APIAnswer<API.RetentionStatus> {
    let path = ["projects", project, "retention"]
    func put(_ confirm: Bool) async throws -> APIAnswer<API.RetentionStatus> {
      let body = API.RetentionUpdateRequest(historyRetentionSeconds: seconds, confirm: confirm)
      return try await session.client.send(try session.request(.put, path, body: body))
    }
    do {
      return try await put(isConfirmed)
    } catch let error as APIClientError where error.code == "confirmation_required" {
      guard isatty(STDIN_FILENO) == 1 else {
        throw CommandError(error.message, hint: "repeat it with --yes")
      }
      printError("\(error.message).\nShrink the window? It starts in an hour. [y/N]")
      guard readLine()?.lowercased().hasPrefix("y") == true else {
        throw CommandError("the retention window was not changed")
      }
      return try await put(true)
    }
  }
}
