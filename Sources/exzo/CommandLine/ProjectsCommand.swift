import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct ProjectsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "projects", abstract: "Lists, makes and changes projects.",
    subcommands: [
      List.self, Get.self, Create.self, Update.self, Delete.self, Recover.self,
      RetentionCommand.self, QuotaCommand.self, PermissionsCommand.self, Estimate.self,
    ],
    defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Project>] = [
    Column("ID") { $0.id }, Column("NAME") { $0.name },
    Column("POSTGRES") { "\($0.pgVersion)" },
    Column("RETENTION") { "\($0.historyRetentionSeconds) s" },
    Column("CREATED") { RFC3339.text($0.createdAt) },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists projects.")
    @OptionGroup var options: ClientOptions
    @Flag(help: "Those that others share with this account.") var shared = false
    @Flag(help: "Deleted ones that can be recovered.") var deleted = false

    /// What the lists of one's own and of shared projects have in common.
    private struct Projects: Decodable, Sendable {
      var projects: [API.ProjectListItem]
    }

    func validate() throws {
      if shared, deleted { throw ValidationError("Give one of --shared and --deleted.") }
    }

    func run() async throws {
      let session = try options.session()
      var request = APIRequest(
        .get, shared ? ["projects", "shared"] : ["projects"], query: [("limit", "400")])
      if deleted { request.query.append(("recoverable", "true")) }
      let answer = try await session.client.send(request, as: Projects.self)
      try session.show(
        answer, rows: answer.value.projects,
        [
          Column("ID") { $0.id }, Column("NAME") { $0.name },
          Column("POSTGRES") { "\($0.pgVersion)" },
          Column("CREATED") { RFC3339.text($0.createdAt) },
        ])
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows a project.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The project's id.", completion: .projects) var id: String?

    func run() async throws {
      let session = try options.session()
      var project = id
      if project == nil { project = try await session.project() }
      let request = APIRequest(.get, ["projects", project ?? ""])
      let answer = try await session.client.send(request, as: API.ProjectResponse.self)
      try session.show(answer, rows: [answer.value.project], columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a project with a branch, a database and a running compute.")
    @OptionGroup var options: ClientOptions
    @Option(help: "The project's name.") var name: String?
    @Option(help: "PostgreSQL's major version.") var pgVersion: Int?
    @Option(help: "How far back restore is promised, in seconds.") var historyRetention: Int?
    @Option(help: "The first database's name.") var database: String?
    @Option(help: "The owner role's name.") var role: String?

    func run() async throws {
      let session = try options.session()
      let hasBranch = database != nil || role != nil
      let project = API.NewProject(
        name: name,
        branch: hasBranch ? .init(roleName: role, databaseName: database) : nil,
        pgVersion: pgVersion, historyRetentionSeconds: historyRetention)
      let request = try session.request(
        .post, ["projects"], body: API.ProjectCreateRequest(project: project))
      let answer = try await session.client.send(request, as: API.CreatedProject.self)
      try await session.wait(for: answer.value.operations)
      try session.show(answer, rows: [answer.value.project], columns)
      if options.output == .table, let details = answer.value.connectionURIs.first {
        print("\n\(details.connectionURI)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Changes a project.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The project's id.", completion: .projects) var id: String?
    @Option(help: "The new name.") var name: String?
    @Option(help: "How far back restore is promised, in seconds.") var historyRetention: Int?
    @Option(
      name: .customLong("allowed-ips"),
      help: "Addresses that may connect, with commas between; '' for all.")
    var allowedIPs: String?
    @Option(help: "When a commit is acknowledged: local or object-store.") var durability: String?
    @Flag(name: [.customShort("y"), .long], help: "Shrink the window without asking.")
    var yes = false

    func validate() throws {
      if name == nil, historyRetention == nil, allowedIPs == nil, durability == nil {
        throw ValidationError("Give --name, --history-retention, --allowed-ips or --durability.")
      }
      if let durability, API.Durability(rawValue: durability) == nil {
        throw ValidationError("--durability: '\(durability)' is not 'local' or 'object-store'.")
      }
    }

    private var update: API.ProjectUpdate {
      let addresses = allowedIPs?.split(separator: ",").map {
        String($0.filter { !$0.isWhitespace })
      }
      return API.ProjectUpdate(
        settings: addresses.map { API.ProjectSettings(allowedIPs: .init(ips: $0)) }, name: name,
        durability: durability.flatMap { API.Durability(rawValue: $0) })
    }

    func run() async throws {
      let session = try options.session()
      var project = id
      if project == nil { project = try await session.project() }
      if let historyRetention {
        _ = try await RetentionCommand.change(
          to: historyRetention, of: project ?? "", isConfirmed: yes, session)
      }
      let request = try session.request(
        .patch, ["projects", project ?? ""], body: API.ProjectUpdateRequest(project: update))
      let answer = try await session.client.send(request, as: API.ProjectOperations.self)
      try await session.wait(for: answer.value.operations)
      try session.show(answer, rows: [answer.value.project], columns)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Deletes a project with all its branches.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The project's id.", completion: .projects) var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.delete, ["projects", id])
      let answer = try await session.client.send(request, as: API.ProjectOperations.self)
      try await session.wait(for: answer.value.operations)
      try session.show(answer, rows: [answer.value.project], columns)
    }
  }

  struct Recover: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Brings back a project that was deleted within seven days.",
      discussion: "'exzo projects list --deleted' shows those that there are.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The project's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.post, ["projects", id, "recover"]), as: API.ProjectRecoverResponse.self)
      for branch in answer.value.damagedBranches ?? [] {
        printError("branch '\(branch.name)' (\(branch.id)) cannot be opened: \(branch.reason)")
      }
      try session.show(answer, rows: [answer.value.project], columns)
    }
  }

  struct Estimate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows what a project's use costs so far in this month.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The project's id.", completion: .projects) var id: String?

    func run() async throws {
      let session = try options.session()
      var project = id
      if project == nil { project = try await session.project() }
      let path = ["projects", project ?? "", "billing_estimate"]
      let answer = try await session.client.send(
        APIRequest(.get, path), as: API.BillingEstimate.self)
      let total = API.EstimateItem(
        metricName: "total", quantity: 0, unit: "", price: 0, amount: answer.value.total)
      try session.show(
        answer, rows: answer.value.items + [total],
        [
          Column("METRIC") { $0.metricName },
          Column("QUANTITY") { $0.unit.isEmpty ? "" : "\($0.quantity) \($0.unit)" },
          Column("PRICE") { $0.unit.isEmpty ? "" : "\($0.price)" },
          Column("AMOUNT") { "\($0.amount)" },
        ])
    }
  }
}
