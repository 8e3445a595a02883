import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import ControlPlane
import Foundation

/// `exzo consumption`: what was used, when, and by whom.
struct ConsumptionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consumption",
    abstract: "Shows what projects used, by hour, day or month, and who was sent how much.",
    subcommands: [History.self, Transfers.self], defaultSubcommand: History.self)

  struct History: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows use by metric; of all projects, or of one.")
    @OptionGroup var options: ClientOptions
    @Option(help: "hourly, daily or monthly.") var granularity = "daily"
    @Option(help: "From this time; a week ago if absent.") var from: TimeArgument?
    @Option(help: "Until this time; now if absent.") var to: TimeArgument?

    private struct Row {
      var project: String
      var start: Date
      var metric: API.ConsumptionMetric
    }

    func run() async throws {
      let session = try options.session()
      let now = Date()
      var query = [
        (name: "granularity", value: granularity),
        ("from", RFC3339.text(from?.date ?? now.addingTimeInterval(-7 * 86_400))),
        ("to", RFC3339.text(to?.date ?? now)), ("limit", "100"),
        ("metrics", ConsumptionMetrics.knownNames.joined(separator: ",")),
      ]
      if let project = options.projectID { query.append(("project_ids", project)) }
      let request = APIRequest(.get, ["consumption_history", "v2", "projects"], query: query)
      let answer = try await session.client.send(
        request, as: API.ProjectConsumptionResponse<API.ConsumptionFrameV2>.self)
      let rows = answer.value.projects.flatMap { project in
        project.periods.flatMap(\.consumption).flatMap { frame in
          frame.metrics.filter { $0.value != 0 }.map {
            Row(project: project.projectID, start: frame.timeframeStart, metric: $0)
          }
        }
      }
      try session.show(
        answer, rows: rows,
        [
          Column("FROM") { RFC3339.text($0.start) }, Column("PROJECT") { $0.project },
          Column("METRIC") { $0.metric.metricName }, Column("VALUE") { "\($0.metric.value)" },
        ])
    }
  }

  struct Transfers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows this month's data transfer, by endpoint and kind of session.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["consumption_history", "transfer"]), as: API.TransferResponse.self)
      let transfers = answer.value.transfers
      try session.show(
        answer,
        rows: options.projectID.map { id in transfers.filter { $0.projectID == id } } ?? transfers,
        [
          Column("PROJECT") { $0.projectID }, Column("ENDPOINT") { $0.endpointID },
          Column("SESSIONS") { $0.sessionKind }, Column("BYTES") { "\($0.bytes)" },
        ])
    }
  }
}
