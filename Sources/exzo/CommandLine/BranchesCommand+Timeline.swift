import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

extension BranchesCommand {
  /// What happened on a branch, named, with the moment just before each.
  struct Timeline: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists drops, truncates and mass deletes within a branch's restore window.",
      discussion: """
        LSN is the moment just before; what was dropped is named by looking there. Examples:
          exzo branches timeline main
          exzo branches create --name before --parent main@LSN
          exzo recover table public.orders --branch main --at LSN
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch's name or id.", completion: .branches) var branch: String?
    @Option(help: "Not before this time; the window's beginning if absent.")
    var from: TimeArgument?
    @Option(help: "Not after this time; now if absent.") var to: TimeArgument?
    @Option(help: "How many of the newest are shown and named.") var limit = 20

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      let path = ["projects", project, "branches", id, "timeline"]
      var query = [(name: "buckets", value: "1")]
      if let from { query.append(("from", RFC3339.text(from.date))) }
      if let to { query.append(("to", RFC3339.text(to.date))) }
      let answer = try await session.client.send(
        APIRequest(.get, path, query: query), as: API.TimelineResponse.self)
      guard options.output == .table else {
        return try session.show(answer, rows: answer.value.timeline.events, [])
      }
      var rows: [API.TimelineEventDetails] = []
      for event in answer.value.timeline.events.suffix(limit) {
        var query = [(name: "lsn", value: event.lsn)]
        if let relation = event.relation { query.append(("relation", relation)) }
        rows.append(
          try await session.client.send(
            APIRequest(.get, path + ["event"], query: query), as: API.TimelineEventResponse.self
          ).value.event)
      }
      try session.show(
        answer, rows: rows,
        [
          Column("TIME") { RFC3339.text($0.timestamp) }, Column("LSN") { $0.lsn },
          Column("WHAT") { $0.title },
          Column("ROWS DELETED") { $0.rowsDeleted.map { "\($0)" } ?? "" },
        ])
    }
  }
}
