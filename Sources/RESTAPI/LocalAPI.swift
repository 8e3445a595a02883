import APITypes
import Catalog
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// What answers outside of the API: the Console.
public protocol PageResponder: Sendable {
  /// - Parameter address: the client's machine.
  func answer(_ request: Request, from address: String) async -> Response
}

/// The whole of what is served: the API, and pages at every other path where there are any.
struct SiteResponder: HTTPResponder {
  typealias Context = APIContext

  let api: APIResponder
  let pages: (any PageResponder)?

  func respond(to request: Request, context: APIContext) async throws -> Response {
    let response = try await answer(request, context)
    // With the length of the body that GET has (RFC 9110, 9.3.2), and nothing of a file read.
    return request.method == .head ? response.createHeadResponse() : response
  }

  private func answer(_ request: Request, _ context: APIContext) async throws -> Response {
    let path = request.uri.path
    guard let pages, !Self.isOfAPI(path) else {
      return try await api.respond(to: request, context: context)
    }
    let clock = ContinuousClock()
    let start = clock.now
    let response = await pages.answer(request, from: context.remoteAddress?.ipAddress ?? "")
    api.metrics.record(
      operation: "console", status: response.status.code, duration: clock.now - start)
    return response
  }

  private static func isOfAPI(_ path: String) -> Bool {
    path == "/api" || path.hasPrefix("/api/") || ["/healthz", "/readyz", "/metrics"].contains(path)
  }
}

/// The API for callers in this process who are known already: the same routes, rules, limits, audit
/// log and answers.
public struct LocalAPI: Sendable {
  let responder: APIResponder

  /// What came back.
  public struct Answer: Sendable {
    public var status: Int
    public var body: Data
    public var contentType: String
    var stream: StreamedAnswer?
    var logger: Logger
    public var isSuccess: Bool { (200..<300).contains(status) }

    /// The answer for a browser; a file comes as it is read.
    public func response(_ headers: HTTPFields) -> Response {
      if let stream { return stream.response(headers, logger) }
      return Response(
        status: HTTPResponse.Status(code: status), headers: headers,
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
  }

  /// Status and words for an error outside of a call; `nil` for a defect that has no words of its own.
  public static func told(_ error: any Error) -> (status: Int, message: String)? {
    let answer = ErrorAnswer(error)
    return answer.code == "internal" ? nil : (answer.status, answer.message)
  }

  /// - Parameters:
  ///   - path: below `/api/v2`, percent-encoded, with its leading `/`.
  ///   - query: without `?`, percent-encoded.
  ///   - headers: of them, those that say which part of a file is wanted count.
  ///   - isCounted: whether the call counts against the account's rate.
  public func send(
    _ method: String, _ path: String, query: String = "", body: Data = Data(),
    headers: HTTPFields = [:], as caller: Caller, from address: String, isCounted: Bool
  ) async -> Answer {
    let requestID = UUID().uuidString.lowercased()
    let answer: APIAnswer
    do {
      if isCounted { try responder.limit("account \(caller.account.id)") }
      guard body.count <= APIResponder.bodyLimit else {
        throw ControlPlaneError(
          .badValue, "the body is larger than \(APIResponder.bodyLimit) bytes")
      }
      guard case .route(let route, let values) = responder.table.find(method, path[...]) else {
        throw ControlPlaneError(
          .routeNotFound, "\(method) '\(path.prefix(128))': there is no such call")
      }
      var wanted = HTTPFields()
      for name in [HTTPField.Name.range, .ifRange] { wanted[name] = headers[name] }
      let head = HTTPRequest(
        method: HTTPRequest.Method(method) ?? .get, scheme: nil, authority: nil, path: path,
        headerFields: wanted)
      answer = try await responder.serve(
        RoutedRequest(
          route: route, values: values, path: APIResponder.base + path, query: query[...],
          request: Request(head: head, body: RequestBody(buffer: ByteBuffer())),
          requestID: requestID, address: address), caller, body)
    } catch {
      let told = ErrorAnswer(error)
      if told.isDefect {
        responder.logger.error(
          "request failed", metadata: ["request_id": "\(requestID)", "error": "\(error)"])
      }
      answer = responder.failure(told, requestID, "console")
    }
    return Answer(
      status: answer.status, body: answer.body, contentType: answer.contentType,
      stream: answer.stream, logger: responder.logger)
  }
}
