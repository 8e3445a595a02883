import APIClient
import APITypes
import ArgumentParser
import CommandLineTool

extension API.EndpointType: ExpressibleByArgument {}

struct EndpointsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "endpoints", abstract: "Lists, makes, starts and suspends endpoints.",
    subcommands: [
      List.self, Get.self, Create.self, Update.self, Delete.self, Start.self, Suspend.self,
      Restart.self,
    ], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Endpoint>] = [
    Column("ID") { $0.id }, Column("BRANCH") { $0.branchID },
    Column("TYPE") { $0.type.rawValue }, Column("STATE") { $0.currentState.rawValue },
    Column("SUSPENDS AFTER") { "\($0.suspendTimeoutSeconds) s" }, Column("HOST") { $0.host },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a project's endpoints.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "endpoints"])
      let answer = try await session.client.send(request, as: API.EndpointsResponse.self)
      try session.show(answer, rows: answer.value.endpoints, columns)
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows an endpoint.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "endpoints", id])
      let answer = try await session.client.send(request, as: API.EndpointResponse.self)
      try session.show(answer, rows: [answer.value.endpoint], columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Makes an endpoint for a branch.")
    @OptionGroup var options: ClientOptions
    @Option(help: "The branch's name or id.", completion: .branches) var branch: String?
    @Option(
      help: "read_write, or read_only: a standby of the branch, whose sessions cannot write.")
    var type: API.EndpointType?
    @Flag(help: "The same as --type read_only.") var readOnly = false
    @Option(name: .customLong("cu"), help: "Its size in compute units, of 4 GB of memory each.")
    var units: Double?
    @Option(help: "Idle seconds before it suspends.") var suspendTimeout: Int?

    func validate() throws {
      if readOnly, type == .readWrite {
        throw ValidationError("Give --type read_write or --read-only, not both.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let branchID = try await session.branch(branch, project: project).id
      let endpoint = API.NewEndpoint(
        branchID: branchID, type: readOnly ? .readOnly : type ?? .readWrite,
        autoscalingLimitMinCU: units, autoscalingLimitMaxCU: units,
        suspendTimeoutSeconds: suspendTimeout)
      let request = try session.request(
        .post, ["projects", project, "endpoints"],
        body: API.EndpointCreateRequest(endpoint: endpoint))
      try await EndpointsCommand.send(request, session)
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Moves an endpoint to another branch, or changes it.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String
    @Option(help: "The branch to serve: name or id.", completion: .branches) var branch: String?
    @Option(help: "Idle seconds before it suspends.") var suspendTimeout: Int?
    @Option(name: .customLong("cu"), help: "Its size in compute units, of 4 GB of memory each.")
    var units: Double?
    @Flag(inversion: .prefixedEnableDisable, help: "Whether it takes connections.")
    var connections: Bool?

    func validate() throws {
      if branch == nil, suspendTimeout == nil, connections == nil, units == nil {
        throw ValidationError("Give --branch, --suspend-timeout, --cu or --disable-connections.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      var branchID: String?
      if let branch { branchID = try await session.branch(branch, project: project).id }
      let update = API.EndpointUpdate(
        branchID: branchID, autoscalingLimitMinCU: units, autoscalingLimitMaxCU: units,
        isDisabled: connections.map { !$0 },
        suspendTimeoutSeconds: suspendTimeout)
      let request = try session.request(
        .patch, ["projects", project, "endpoints", id],
        body: API.EndpointUpdateRequest(endpoint: update))
      try await EndpointsCommand.send(request, session)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Deletes an endpoint.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let path = ["projects", try await session.project(), "endpoints", id]
      try await EndpointsCommand.send(APIRequest(.delete, path), session)
    }
  }

  struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Starts an endpoint's compute.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String
    func run() async throws { try await EndpointsCommand.act("start", id, options) }
  }

  struct Suspend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Suspends an endpoint's compute.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String
    func run() async throws { try await EndpointsCommand.act("suspend", id, options) }
  }

  struct Restart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Restarts an endpoint's compute.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The endpoint's id.") var id: String
    func run() async throws { try await EndpointsCommand.act("restart", id, options) }
  }

  private static func act(_ verb: String, _ id: String, _ options: ClientOptions) async throws {
    let session = try options.session()
    let path = ["projects", try await session.project(), "endpoints", id, verb]
    try await send(APIRequest(.post, path), session)
  }

  private static func send(_ request: APIRequest, _ session: ClientSession) async throws {
    var answer = try await session.client.send(request, as: API.EndpointOperations.self)
    try await session.wait(for: answer.value.operations)
    if session.waits, request.method != .delete {
      // As it is now, and not as it was when the operations began.
      let endpoint = answer.value.endpoint
      answer.value.endpoint = try await session.client.send(
        APIRequest(.get, ["projects", endpoint.projectID, "endpoints", endpoint.id]),
        as: API.EndpointResponse.self
      ).value.endpoint
      answer.json = try APICoding.encode(answer.value)
    }
    try session.show(answer, rows: [answer.value.endpoint], columns)
  }
}
