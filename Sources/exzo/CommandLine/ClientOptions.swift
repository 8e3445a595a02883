import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

extension OutputFormat: ExpressibleByArgument {}

/// Options of every verb that talks to the API.
struct ClientOptions: ParsableArguments {
  @Option(name: [.customShort("o"), .long], help: "How to print: table, json or yaml.")
  var output = OutputFormat.table

  @Option(
    help: "The project; by default the saved one, or the only one.", completion: .projects)
  var projectID: String?

  @Flag(name: .customLong("no-wait"), help: "Do not wait for operations to finish.")
  var skipsWaiting = false

  func session() throws -> ClientSession { try ClientSession(options: self) }
}

/// A server, found, and the context that commands run in.
struct ClientSession {
  let client: APIClient
  let lookup: ResourceLookup
  let context: SavedContext
  let location: ServerLocation
  private let options: ClientOptions

  init(options: ClientOptions) throws {
    let environment = ProcessInfo.processInfo.environment
    location = try ServerLocator(environment: environment).locate()
    client = APIClient(
      server: location.host, key: location.key, transport: try location.transport())
    lookup = ResourceLookup(client: client)
    context = try SavedContext.load(
      from: FileManager.default.currentDirectoryPath, home: environment["HOME"])
    self.options = options
  }

  func project() async throws -> String {
    try await lookup.project(given: options.projectID, saved: context.projectID)
  }

  /// The branch named, else the saved one, else the default one.
  func branch(_ reference: String?, project: String) async throws -> API.Branch {
    try await lookup.branch(reference ?? context.branch, project: project)
  }

  /// Whether operations are waited for.
  var waits: Bool { !options.skipsWaiting }

  /// Waits, with progress on standard error, unless `--no-wait` was given.
  func wait(for operations: [API.Operation]) async throws {
    guard waits else { return }
    try await OperationWaiter(client: client, progress: { printError($0) }).wait(for: operations)
  }

  /// A branch as it is when its operations have ended.
  func now(_ branch: API.Branch) async throws -> API.Branch {
    try await client.send(
      APIRequest(.get, ["projects", branch.projectID, "branches", branch.id]),
      as: API.BranchResponse.self
    ).value.branch
  }

  /// Prints an answer: `rows` as a table, or the server's own JSON.
  func show<Value, Row>(
    _ answer: APIAnswer<Value>, rows: [Row], _ columns: [Column<Row>]
  ) throws {
    let text =
      switch options.output {
      case .table: Output.table(rows, columns)
      case .json: try Output.json(answer.json)
      case .yaml: try Output.yaml(answer.json)
      }
    print(text, terminator: "")
  }

  /// Encodes `body` into a request.
  func request(
    _ method: APIRequest.Method, _ path: [String], body: some Encodable
  ) throws -> APIRequest {
    APIRequest(method, path, body: try APICoding.encode(body))
  }
}

extension MomentReference {
  /// Makes a malformed reference an error of usage.
  static func check(_ text: String) throws {
    do {
      _ = try MomentReference(text)
    } catch {
      throw ValidationError("\(error)")
    }
  }
}

/// A time as the command line and tables take and give it.
struct TimeArgument: ExpressibleByArgument {
  var date: Date

  init?(argument: String) {
    guard let date = RFC3339.date(argument) else { return nil }
    self.date = date
  }
}
