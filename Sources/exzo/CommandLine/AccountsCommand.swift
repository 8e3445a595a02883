import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

struct AccountsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "accounts", abstract: "Lists, makes and changes accounts and their plans.",
    subcommands: [
      List.self, Get.self, Create.self, Update.self, Plans.self, SetPlan.self, AuditLog.self,
    ], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Account>] = [
    Column("ID") { $0.id }, Column("NAME") { $0.name }, Column("EMAIL") { $0.email },
    Column("PLAN") { $0.plan }, Column("OPERATOR") { $0.isAdmin ? "yes" : "" },
    Column("CREATED") { RFC3339.text($0.createdAt) },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists accounts.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["accounts"], query: [("limit", "400")])
      let answer = try await session.client.send(request, as: API.AccountListResponse.self)
      try session.show(answer, rows: answer.value.accounts, columns)
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows an account.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The account's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["accounts", id]), as: API.AccountResponse.self)
      try session.show(answer, rows: [answer.value.account], columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes an account and shows its first API key, once.")
    @OptionGroup var options: ClientOptions
    @Option(help: "The account's name.") var name: String
    @Option(help: "Its email address; projects are shared by it.") var email: String
    @Option(help: "Its plan (default free).") var plan: String?

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .post, ["accounts"],
        body: API.AccountCreateRequest(account: .init(name: name, email: email, plan: plan)))
      let answer = try await session.client.send(request, as: API.CreatedAccount.self)
      try session.show(
        answer, rows: [answer.value],
        [
          Column("ID") { $0.account.id }, Column("EMAIL") { $0.account.email },
          Column("PLAN") { $0.account.plan }, Column("KEY") { $0.apiKey.key },
        ])
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Renames an account or puts it on another plan.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The account's id.") var id: String
    @Option(help: "The new name.") var name: String?
    @Option(help: "The new plan.") var plan: String?

    func validate() throws {
      if name == nil, plan == nil { throw ValidationError("Give --name or --plan.") }
    }

    func run() async throws {
      let session = try options.session()
      let request = try session.request(
        .patch, ["accounts", id],
        body: API.AccountUpdateRequest(account: .init(name: name, plan: plan)))
      let answer = try await session.client.send(request, as: API.AccountResponse.self)
      try session.show(answer, rows: [answer.value.account], columns)
    }
  }

  fileprivate static let planColumns: [Column<API.Plan>] = [
    Column("NAME") { $0.name }, Column("PROJECTS") { "\($0.projectsLimit)" },
    Column("BRANCHES") { "\($0.branchesLimit)" },
    Column("RETENTION") { "\($0.historyRetentionSecondsMaximum) s" },
    Column("CU") { "\($0.computeUnitsMaximum)" },
    Column("COMPUTE") { $0.computeSecondsLimit.map { "\($0) s" } ?? "unlimited" },
    Column("TRANSFER") { $0.transferBytesLimit.map { "\($0) bytes" } ?? "unlimited" },
  ]

  struct Plans: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists plans.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["plans"]), as: API.PlanListResponse.self)
      try session.show(answer, rows: answer.value.plans, planColumns)
    }
  }

  struct SetPlan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a plan, or changes it: limits that are not named are none.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The plan's name.") var name: String
    @Option(help: "Projects of an account.") var projects: Int
    @Option(help: "Branches of a project.") var branches: Int
    @Option(help: "Longest retention window, in seconds.") var retention: Int
    @Option(help: "Largest compute, in CU.") var computeUnits: Double
    @Option(help: "Compute seconds a month.") var computeSeconds: Int?
    @Option(help: "Bytes to clients a month.") var transferBytes: Int?
    @Option(help: "Bytes written a month.") var writtenBytes: Int?
    @Option(help: "METRIC=PRICE, such as compute_unit_hours=0.1; may be repeated.")
    var price: [String] = []

    func run() async throws {
      var prices: [String: Double] = [:]
      for item in price {
        let parts = item.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let value = Double(parts[1]) else {
          throw ValidationError("--price: '\(item)' is not METRIC=PRICE")
        }
        prices[String(parts[0])] = value
      }
      let session = try options.session()
      let limits = API.PlanLimits(
        projectsLimit: projects, branchesLimit: branches,
        historyRetentionSecondsMaximum: retention, computeUnitsMaximum: computeUnits,
        computeSecondsLimit: computeSeconds, transferBytesLimit: transferBytes,
        writtenBytesLimit: writtenBytes, prices: prices)
      let request = try session.request(
        .put, ["plans", name], body: API.PlanRequest(plan: limits))
      let answer = try await session.client.send(request, as: API.PlanResponse.self)
      try session.show(answer, rows: [answer.value.plan], planColumns)
    }
  }

  struct AuditLog: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists write requests, newest first.")
    @OptionGroup var options: ClientOptions
    @Option(help: "Only this account's.") var account: String?
    @Option(help: "How many.") var limit = 100

    func run() async throws {
      let session = try options.session()
      var query = [(name: "limit", value: "\(limit)")]
      if let account { query.append(("account_id", account)) }
      let answer = try await session.client.send(
        APIRequest(.get, ["audit_log"], query: query), as: API.AuditLogResponse.self)
      try session.show(
        answer, rows: answer.value.entries,
        [
          Column("TIME") { RFC3339.text($0.createdAt) }, Column("ACCOUNT") { $0.accountID },
          Column("FROM") { $0.address }, Column("REQUEST") { "\($0.method) \($0.path)" },
          Column("STATUS") { "\($0.status)" },
        ])
    }
  }
}
