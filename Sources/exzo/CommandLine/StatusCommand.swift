import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows the server and what runs on it.")
  @OptionGroup var options: ClientOptions

  private struct Status: Codable, Sendable {
    var server: String
    var isReady: Bool
    var projects: Int?
    var projectID: String?
    var branch: String?

    enum CodingKeys: String, CodingKey {
      case server, projects, branch
      case isReady = "ready"
      case projectID = "project_id"
    }
  }

  func run() async throws {
    let session = try options.session()
    var status = Status(
      server: session.location.host, isReady: try await session.client.isReady(),
      projectID: options.projectID ?? session.context.projectID, branch: session.context.branch)
    if session.location.key != nil {
      let request = APIRequest(.get, ["projects"], query: [("limit", "400")])
      status.projects = try await session.client.send(request, as: API.ProjectListResponse.self)
        .value.projects.count
    }
    let answer = APIAnswer(value: status, json: try APICoding.encode(status))
    try session.show(
      answer, rows: [status],
      [
        Column("SERVER") { $0.server }, Column("READY") { $0.isReady ? "yes" : "no" },
        Column("PROJECTS") { $0.projects.map { "\($0)" } ?? "(no key)" },
        Column("CONTEXT") { [$0.projectID, $0.branch].compactMap { $0 }.joined(separator: " ") },
      ])
    if !status.isReady { throw ExitCode(ExitStatus.failure) }
  }
}
