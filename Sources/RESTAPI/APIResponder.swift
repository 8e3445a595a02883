import APITypes
import Catalog
import ControlPlane
import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// The request context: only what the library needs, and the peer's address.
struct APIContext: RequestContext, RemoteAddressRequestContext {
  var coreContext: CoreRequestContextStorage
  let remoteAddress: SocketAddress?

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    remoteAddress = source.channel.remoteAddress
  }
}

/// What goes back: status and JSON.
struct APIAnswer: Sendable {
  var status: Int
  var body: Data
  var contentType = "application/json; charset=utf-8"
  var retryAfterSeconds: Int?
  var allowed: [String] = []
  /// The name under which it is counted.
  var operation: String
  /// A file in place of the body.
  var stream: StreamedAnswer?
}

/// Answers every request: authentication, idempotency, the route, errors, counts and the audit log.
struct APIResponder: HTTPResponder {
  typealias Context = APIContext

  let plane: ControlPlane
  let table: RouteTable
  let document: Data
  let metrics: RequestMetrics
  let limiter: RateLimiter
  let logger: Logger
  let running = RunningRequests()

  static let base = "/api/v2"
  /// Largest body; every request of the API is far below.
  static let bodyLimit = 1 << 20

  func respond(to request: Request, context: APIContext) async throws -> Response {
    let clock = ContinuousClock()
    let start = clock.now
    let requestID = self.requestID(of: request)
    let answer = await answer(request, requestID, context.remoteAddress?.ipAddress ?? "")
    metrics.record(
      operation: answer.operation, status: answer.status, duration: clock.now - start)
    var headers: HTTPFields = [.contentType: answer.contentType, .requestID: requestID]
    if let stream = answer.stream { return stream.response(headers, logger) }
    headers[.contentLength] = String(answer.body.count)
    headers[.cacheControl] = "no-store"
    // RFC 9110, 11.6.1: a 401 says how to authenticate.
    if answer.status == 401 { headers[.wwwAuthenticate] = #"Bearer realm="exzo""# }
    if let seconds = answer.retryAfterSeconds { headers[.retryAfter] = String(seconds) }
    if !answer.allowed.isEmpty { headers[.allow] = answer.allowed.joined(separator: ", ") }
    return Response(
      status: HTTPResponse.Status(code: answer.status), headers: headers,
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body)))
  }

  /// The caller's id where it is `[\w.-]{1,64}`, else one of ours.
  private func requestID(of request: Request) -> String {
    let given = request.headers[.requestID] ?? ""
    let isFit = given.utf8.allSatisfy {
      (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
        || [0x5f, 0x2e, 0x2d].contains($0)
    }
    return isFit && (1...64).contains(given.utf8.count) ? given : UUID().uuidString.lowercased()
  }

  private func answer(_ request: Request, _ requestID: String, _ address: String) async -> APIAnswer
  {
    var operation = "none"
    do {
      let parts = request.uri.string.split(
        separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
      let path = parts.first ?? ""
      if let open = try await openAnswer(request.method, path, requestID) { return open }
      guard path.hasPrefix(Self.base + "/") else { return notFound(requestID, path) }
      switch table.find(request.method.rawValue, path.dropFirst(Self.base.count)) {
      case .nothing: return notFound(requestID, path)
      case .wrongMethod(let methods):
        var answer = failure(
          ErrorAnswer(
            status: 405, code: "method_not_allowed",
            message: "\(request.method.rawValue) is not possible on '\(path.prefix(128))'"),
          requestID, operation)
        answer.allowed = methods
        return answer
      case .route(let route, let values):
        operation = route.operationID
        let query = parts.count > 1 ? parts[1] : ""
        return try await serve(
          RoutedRequest(
            route: route, values: values, path: String(path), query: query, request: request,
            requestID: requestID, address: address))
      }
    } catch {
      let answer = ErrorAnswer(error)
      if answer.isDefect {
        logger.error(
          "request failed",
          metadata: [
            "request_id": "\(requestID)", "operation": "\(operation)", "error": "\(error)",
          ])
      }
      return failure(answer, requestID, operation)
    }
  }

  /// What needs no key.
  private func openAnswer(
    _ method: HTTPRequest.Method, _ path: Substring, _ requestID: String
  ) async throws -> APIAnswer? {
    guard method == .get || method == .head else { return nil }
    switch path {
    case "/healthz":
      return APIAnswer(status: 200, body: Data(#"{"status":"ok"}"#.utf8), operation: "healthz")
    case "/readyz":
      do {
        try await plane.catalog.ping()
      } catch {
        logger.error("not ready", metadata: ["error": "\(error)"])
        // The status that load balancers know; the reason is in the body.
        var answer = ErrorAnswer(error)
        answer.status = 503
        return failure(answer, requestID, "readyz")
      }
      return APIAnswer(status: 200, body: Data(#"{"status":"ready"}"#.utf8), operation: "readyz")
    case "/metrics":
      let text = metrics.text(gauges: try await plane.gauges())
      return APIAnswer(
        status: 200, body: Data(text.utf8), contentType: "text/plain; version=0.0.4",
        operation: "metrics")
    case "\(Self.base)/openapi.json":
      return APIAnswer(status: 200, body: document, operation: "openapi")
    default: return nil
    }
  }

  private func notFound(_ requestID: String, _ path: Substring) -> APIAnswer {
    failure(
      ErrorAnswer(
        status: 404, code: "route_not_found",
        message: "there is nothing at '\(path.prefix(128))'; the API is below \(Self.base)"),
      requestID, "none")
  }

  func failure(_ error: ErrorAnswer, _ requestID: String, _ operation: String) -> APIAnswer {
    let body = API.ErrorBody(requestID: requestID, code: error.code, message: error.message)
    // Three strings always encode; an empty body would still carry the status.
    let data = (try? APICoding.encode(body)) ?? Data()
    return APIAnswer(
      status: error.status, body: data, retryAfterSeconds: error.retryAfterSeconds,
      operation: operation)
  }
}

/// A request and the route it found.
struct RoutedRequest: Sendable {
  var route: Route
  var values: [String: String]
  var path: String
  var query: Substring
  var request: Request
  var requestID: String
  var address: String

  var isWrite: Bool { route.method != "GET" }
}

extension HTTPField.Name {
  static let requestID = HTTPField.Name("X-Request-ID")!
  static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
}
