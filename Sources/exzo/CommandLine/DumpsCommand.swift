import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

extension API.DumpFormat: ExpressibleByArgument {}

struct DumpsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dumps", abstract: "Makes, checks, downloads and restores dumps.",
    subcommands: [
      List.self, Create.self, Get.self, Verify.self, Download.self, Restore.self, Delete.self,
    ], defaultSubcommand: List.self)

  static let columns: [Column<API.Dump>] = [
    Column("ID") { $0.id }, Column("BRANCH") { $0.branchID }, Column("DATABASE") { $0.database },
    Column("FORMAT") { $0.format.rawValue }, Column("STATUS") { status($0) },
    Column("BYTES") { $0.sizeBytes.map(String.init) ?? "" },
    Column("AT") { $0.timestamp.map { RFC3339.text($0) } ?? $0.lsn },
    Column("VERIFIED") { $0.verification?.status.rawValue ?? "no" },
    Column("EXPIRES") { $0.expiresAt.map { RFC3339.text($0) } ?? "never" },
  ]

  private static func status(_ dump: API.Dump) -> String {
    guard dump.status == .running else { return dump.status.rawValue }
    return "running \(dump.progress.tablesDone)/\(dump.progress.tablesTotal)"
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a project's dumps.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "dumps"])
      let answer = try await session.client.send(request, as: API.DumpsResponse.self)
      try session.show(answer, rows: answer.value.dumps, columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Dumps databases of branches.",
      discussion: """
        Without arguments, all databases of the default branch at its head. Examples:
          exzo dumps create main --database app
          exzo dumps create main@2026-11-23T10:00:00Z --format directory --jobs 4
          exzo dumps create --all-branches --no-verify
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "BRANCH, BRANCH@TIME or BRANCH@LSN; several heads, too.", completion: .branches)
    var branches: [String] = []
    @Flag(help: "All branches.") var allBranches = false
    @Option(help: "A database; may be repeated. All if absent.") var database: [String] = []
    @Option(help: "custom, directory or plain.") var format = API.DumpFormat.custom
    @Option(help: "Processes that dump in parallel; for directory.") var jobs: Int?
    @Flag(inversion: .prefixedNo, help: "Restore it into a scratch branch and compare.")
    var verify = true
    @Option(help: "When it deletes itself.") var expiresAt: TimeArgument?

    func validate() throws {
      for branch in branches { try MomentReference.check(branch) }
      if allBranches, !branches.isEmpty {
        throw ValidationError("Give branches or --all-branches, not both.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let references = try branches.map { try MomentReference($0) }
      let moments = references.compactMap(\.moment)
      guard moments.isEmpty || references.count == 1 else {
        throw CommandError(
          "a moment is given and \(references.count) branches",
          hint: "Name one branch, or several without a moment.")
      }
      var names: [String] = []
      for reference in references.isEmpty ? [nil] : references.map({ Optional($0) }) {
        guard !allBranches else { break }
        names.append(try await session.branch(reference?.branch, project: project).id)
      }
      var body = API.DumpRequest(
        branches: allBranches ? .all : .names(names),
        databases: database.isEmpty ? .all : .names(database), format: format, jobs: jobs,
        verify: verify, expiresAt: expiresAt?.date)
      switch moments.first {
      case .lsn(let lsn): body.lsn = lsn
      case .timestamp(let date): body.timestamp = date
      case nil: break
      }
      let request = try session.request(.post, ["projects", project, "dumps"], body: body)
      let answer = try await session.client.send(request, as: API.CreatedDumps.self)
      try await session.wait(for: answer.value.operations)
      guard !options.skipsWaiting else {
        try session.show(answer, rows: answer.value.dumps, columns)
        return try Self.tell(answer.value.failures)
      }
      let ids = Set(answer.value.dumps.map(\.id))
      let list = APIRequest(.get, ["projects", project, "dumps"], query: [("limit", "1000")])
      let done = try await session.client.send(list, as: API.DumpsResponse.self)
      try session.show(done, rows: done.value.dumps.filter { ids.contains($0.id) }, columns)
      try Self.tell(answer.value.failures)
    }

    /// The others are dumped all the same.
    private static func tell(_ failures: [API.BranchFailure]?) throws {
      guard let failures, !failures.isEmpty else { return }
      throw CommandError(
        "not dumped: "
          + failures.map { "branch '\($0.branchName)': \($0.error)" }.joined(separator: "; "),
        hint: "The other branches are dumped; 'exzo verify' names damaged objects.")
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows a dump; '-o yaml' with all that verification found.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The dump's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "dumps", id])
      let answer = try await session.client.send(request, as: API.DumpResponse.self)
      try session.show(answer, rows: [answer.value.dump], columns)
    }
  }

  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Restores a dump into a scratch branch and compares it with its source.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The dump's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let request = APIRequest(.post, ["projects", project, "dumps", id, "verify"])
      let answer = try await session.client.send(request, as: API.DumpOperations.self)
      try await session.wait(for: answer.value.operations)
      let shown = try await session.client.send(
        APIRequest(.get, ["projects", project, "dumps", id]), as: API.DumpResponse.self)
      try session.show(shown, rows: [shown.value.dump], columns)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Cancels a dump that is being made, and deletes it.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The dump's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.delete, ["projects", try await session.project(), "dumps", id])
      let answer = try await session.client.send(request, as: API.DumpOperations.self)
      try session.show(answer, rows: [answer.value.dump], columns)
    }
  }
}
