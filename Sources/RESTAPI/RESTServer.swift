import APITypes
import ControlPlane
import Hummingbird
import HummingbirdCore
import Logging
import ServiceLifecycle

/// The HTTP server of the API.
///
/// *Purpose*: `/api/v2`, `/healthz`, `/readyz`, `/metrics`.
///
/// *Concurrency*: a swift-service-lifecycle `Service`. A graceful shutdown stops accepting and
/// lets requests that run come to their end.
///
/// *Not guarded here*: listening beyond loopback without TLS; `serve` refuses that.
public struct RESTServer: Service {
  private let responder: SiteResponder
  private let address: BindAddress
  private let server: HTTPServerBuilder
  private let onRunning: @Sendable (Int) async -> Void
  private let logger: Logger

  /// - Parameters:
  ///   - port: 0 lets the system choose; `onRunning` tells which.
  ///   - server: `.http1()`, or `.tls(...)` of HummingbirdTLS.
  ///   - onRunning: called with the port once connections are accepted.
  ///   - pages: makes what answers outside of the API, given a way to the API.
  public init(
    plane: ControlPlane, host: String = "127.0.0.1", port: Int = 8432,
    server: HTTPServerBuilder = .http1(), logger: Logger,
    onRunning: @escaping @Sendable (Int) async -> Void = { _ in },
    pages: (LocalAPI) throws -> (any PageResponder)? = { _ in nil }
  ) throws {
    let table = RouteTable.all(plane)
    let api = APIResponder(
      plane: plane, table: table, document: try APICoding.encode(OpenAPIDocument(table).json),
      metrics: RequestMetrics(),
      limiter: RateLimiter(perMinute: plane.settings.requestsPerMinute), logger: logger)
    responder = SiteResponder(api: api, pages: try pages(LocalAPI(responder: api)))
    address = .hostname(host, port: port)
    self.server = server
    self.onRunning = onRunning
    self.logger = logger
  }

  public func run() async throws {
    let onRunning = onRunning
    let application = Application(
      responder: responder, server: server,
      configuration: ApplicationConfiguration(address: address, serverName: "exzo"),
      onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? 0) },
      logger: logger)
    try await application.run()
  }
}
