import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

/// `exzo projects quota`: limits on a project's use in one month, and how far they are used up.
struct QuotaCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quota", abstract: "Shows or sets what a project may use in a month.",
    discussion: "A quota that is used up suspends the project's computes until it is raised, or "
      + "until the next month begins.",
    subcommands: [Show.self, Set.self], defaultSubcommand: Show.self)

  private struct Row {
    var metric: String
    var limit: Int?
    var used: Int?
    var unit: String
  }

  private static func rows(_ project: API.Project) -> [Row] {
    let quota = project.settings?.quota
    return [
      Row(
        metric: "active time", limit: quota?.activeTimeSeconds, used: project.activeTimeSeconds,
        unit: "s"),
      Row(
        metric: "compute time", limit: quota?.computeTimeSeconds, used: project.computeTimeSeconds,
        unit: "s"),
      Row(
        metric: "written data", limit: quota?.writtenDataBytes, used: project.writtenDataBytes,
        unit: "bytes"),
      Row(
        metric: "data transfer", limit: quota?.dataTransferBytes, used: project.dataTransferBytes,
        unit: "bytes"),
      // A limit on each branch: the project has no one figure to hold against it.
      Row(
        metric: "logical size of a branch", limit: quota?.logicalSizeBytes, used: nil, unit: "bytes"
      ),
    ]
  }

  fileprivate static func show<Answer>(
    _ answer: APIAnswer<Answer>, _ project: API.Project, _ session: ClientSession
  ) throws {
    try session.show(
      answer, rows: rows(project),
      [
        Column("METRIC") { $0.metric },
        Column("USED") { row in row.used.map { "\($0) \(row.unit)" } ?? "" },
        Column("QUOTA") { row in
          row.limit.flatMap { $0 == 0 ? nil : "\($0) \(row.unit)" } ?? "none"
        },
      ])
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows quotas and use.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["projects", try await session.project()]), as: API.ProjectResponse.self)
      try QuotaCommand.show(answer, answer.value.project, session)
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Sets quotas; what is not named stays, 0 takes one away.")
    @OptionGroup var options: ClientOptions
    @Option(help: "Seconds in which any compute runs.") var activeTime: Int?
    @Option(help: "Seconds of 1 CU.") var computeTime: Int?
    @Option(help: "Bytes of WAL.") var writtenData: Int?
    @Option(help: "Bytes sent to clients.") var dataTransfer: Int?
    @Option(help: "Bytes of a branch's databases.") var logicalSize: Int?

    private var quota: API.ProjectQuota {
      API.ProjectQuota(
        activeTimeSeconds: activeTime, computeTimeSeconds: computeTime,
        writtenDataBytes: writtenData, dataTransferBytes: dataTransfer,
        logicalSizeBytes: logicalSize)
    }

    func validate() throws {
      guard quota != API.ProjectQuota() else {
        throw ValidationError(
          "Give --active-time, --compute-time, --written-data, --data-transfer or --logical-size.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let update = API.ProjectUpdate(settings: API.ProjectSettings(quota: quota))
      let request = try session.request(
        .patch, ["projects", try await session.project()],
        body: API.ProjectUpdateRequest(project: update))
      let answer = try await session.client.send(request, as: API.ProjectOperations.self)
      try await session.wait(for: answer.value.operations)
      try QuotaCommand.show(answer, answer.value.project, session)
    }
  }
}
