import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

extension API.BackupFrequency: ExpressibleByArgument {}
extension API.BackupKind: ExpressibleByArgument {}

struct ScheduleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule", abstract: "Shows and changes when a branch is backed up.",
    subcommands: [Get.self, Add.self, Remove.self, Off.self], defaultSubcommand: Get.self)

  private static let columns: [Column<(Int, API.BackupScheduleItem)>] = [
    Column("#") { "\($0.0 + 1)" }, Column("FREQUENCY") { $0.1.frequency.rawValue },
    Column("KIND") { ($0.1.kind ?? .snapshot).rawValue },
    Column("MONTH") { $0.1.month.map(String.init) ?? "" },
    Column("DAY") { $0.1.day.map(String.init) ?? "" },
    Column("HOUR") { $0.1.hour.map(String.init) ?? "" }, Column("ZONE") { $0.1.timeZone ?? "UTC" },
    Column("KEPT") { $0.1.retentionSeconds.map { "\($0) s" } ?? "for good" },
    Column("NEXT") { $0.1.nextRunAt.map { RFC3339.text($0) } ?? "" },
    Column("LAST") { $0.1.lastRunAt.map { RFC3339.text($0) } ?? "" },
    Column("RESULT") { item in
      [item.1.lastRunStatus?.rawValue, item.1.lastRunError].compactMap { $0 }
        .joined(separator: ": ")
    },
  ]

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows a branch's schedule with its next and last runs.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String?

    func run() async throws {
      let schedule = try BranchSchedule(branch, options)
      try ScheduleCommand.show(try await schedule.get(), schedule)
    }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Adds a line to a branch's schedule.",
      discussion: """
        Examples:
          exzo schedule add main --frequency daily --hour 3 --time-zone Europe/Berlin
          exzo schedule add main --frequency hourly --retention 172800
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String?
    @Option(help: "hourly, daily, weekly, monthly or yearly.") var frequency: API.BackupFrequency
    @Option(help: "0 to 23.") var hour: Int?
    @Option(help: "Weekly 1 to 7, Monday is 1; monthly and yearly 1 to 31.") var day: Int?
    @Option(help: "1 to 12, yearly.") var month: Int?
    @Option(help: "How long what it makes is kept, seconds; for good if absent.")
    var retention: Int?
    @Option(help: "snapshot or dump.") var kind = API.BackupKind.snapshot
    @Option(help: "A name of the IANA database.") var timeZone = "UTC"

    func run() async throws {
      let schedule = try BranchSchedule(branch, options)
      let item = API.BackupScheduleItem(
        frequency: frequency, hour: hour, day: day, month: month, retentionSeconds: retention,
        kind: kind, timeZone: timeZone)
      try ScheduleCommand.show(try await schedule.add(item), schedule)
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Removes a line from a branch's schedule.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String
    @Argument(help: "The line's number, as shown.") var number: Int

    func run() async throws {
      let schedule = try BranchSchedule(branch, options)
      let items = try await schedule.get().value.schedule
      guard items.indices.contains(number - 1), let id = items[number - 1].id else {
        throw CommandError("the schedule has no line \(number)", hint: "Run 'exzo schedule get'.")
      }
      try ScheduleCommand.show(try await schedule.remove(id), schedule)
    }
  }

  struct Off: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Turns a branch's schedule off; what it made stays until it expires.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String

    func run() async throws { try await BranchSchedule(branch, options).set([]) }
  }

  private static func show(
    _ answer: APIAnswer<API.BackupSchedule>, _ schedule: BranchSchedule
  ) throws {
    try schedule.session.show(answer, rows: Array(answer.value.schedule.enumerated()), columns)
  }
}

/// One branch's schedule, as the server has it.
private struct BranchSchedule {
  let session: ClientSession
  private let branch: String?

  init(_ branch: String?, _ options: ClientOptions) throws {
    session = try options.session()
    self.branch = branch
  }

  private var path: [String] {
    get async throws {
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      return ["projects", project, "branches", id, "backup_schedule"]
    }
  }

  func get() async throws -> APIAnswer<API.BackupSchedule> {
    try await session.client.send(APIRequest(.get, try await path))
  }

  /// One request each, so that nobody else's line is lost.
  func add(_ item: API.BackupScheduleItem) async throws -> APIAnswer<API.BackupSchedule> {
    try await session.client.send(
      session.request(.post, try await path + ["items"], body: item))
  }

  func remove(_ id: String) async throws -> APIAnswer<API.BackupSchedule> {
    try await session.client.send(APIRequest(.delete, try await path + ["items", id]))
  }

  func set(_ items: [API.BackupScheduleItem]) async throws {
    let request = try session.request(
      .put, try await path, body: API.BackupSchedule(schedule: items))
    _ = try await session.client.send(request, as: API.EmptyResponse.self)
  }
}
