import APITypes
import ControlPlane
import Foundation

/// A parameter of a route's query string, for the OpenAPI document.
struct QueryParameter: Sendable {
  enum Kind: Sendable {
    case text
    case flag
    case integer(ClosedRange<Int>)
    case words([String])
    case time
    case list(maximum: Int)
  }

  var name: String
  var kind: Kind
  var isRequired = false

  static func limit(_ maximum: Int) -> QueryParameter {
    QueryParameter(name: "limit", kind: .integer(1...maximum))
  }
  static let cursor = QueryParameter(name: "cursor", kind: .text)
  static let search = QueryParameter(name: "search", kind: .text)
  static func text(_ name: String, isRequired: Bool = false) -> QueryParameter {
    QueryParameter(name: name, kind: .text, isRequired: isRequired)
  }
  static func flag(_ name: String) -> QueryParameter { QueryParameter(name: name, kind: .flag) }
}

/// One row of the table of routes: what is served, and what the OpenAPI document says of it.
struct Route: Sendable {
  typealias Handler = @Sendable (APIRequest) async throws -> Data
  typealias StreamHandler = @Sendable (APIRequest) async throws -> StreamedAnswer

  let method: String
  /// Below `/api/v2`, with `{name}` segments.
  let pattern: String
  let operationID: String
  let summary: String
  let query: [QueryParameter]
  let body: (any (Decodable & Sendable).Type)?
  let isBodyRequired: Bool
  let status: Int
  /// `nil` for a route of the reference that this version does not build.
  let answer: (any (Decodable & Sendable).Type)?
  let handle: Handler
  /// Where the answer is no JSON but a file.
  let stream: StreamHandler?
  let segments: [Substring]

  init<Answer: Codable & Sendable>(
    _ method: String, _ pattern: String, _ operationID: String, _ summary: String,
    query: [QueryParameter] = [], body: (any (Decodable & Sendable).Type)? = nil,
    isBodyRequired: Bool = true,
    status: Int = 200, _ handle: @escaping @Sendable (APIRequest) async throws -> Answer
  ) {
    self.method = method
    self.pattern = pattern
    self.operationID = operationID
    self.summary = summary
    self.query = query
    self.body = body
    self.isBodyRequired = isBodyRequired
    self.status = status
    answer = Answer.self
    self.handle = { try APICoding.encode(try await handle($0)) }
    stream = nil
    segments = pattern.split(separator: "/")
  }

  /// A route whose answer is a file.
  init(
    file pattern: String, _ operationID: String, _ summary: String,
    _ stream: @escaping StreamHandler
  ) {
    method = "GET"
    self.pattern = pattern
    self.operationID = operationID
    self.summary = summary
    query = []
    body = nil
    isBodyRequired = false
    status = 200
    answer = nil
    handle = { _ in Data() }
    self.stream = stream
    segments = pattern.split(separator: "/")
  }

  /// A route of the reference that answers 501.
  init(notBuilt method: String, _ pattern: String, _ operationID: String, area: String) {
    self.method = method
    self.pattern = pattern
    self.operationID = operationID
    summary = "Not built in this version (\(area))"
    query = []
    body = nil
    isBodyRequired = false
    status = 501
    answer = nil
    handle = { _ in throw NotBuilt(operationID: operationID, area: area) }
    stream = nil
    segments = pattern.split(separator: "/")
  }

  /// The parameters' values where `path` is one of this route's; segments are still encoded.
  func match(_ path: [Substring]) -> [String: String]? {
    guard path.count == segments.count else { return nil }
    var values: [String: String] = [:]
    for (segment, text) in zip(segments, path) {
      guard segment.hasPrefix("{") else {
        guard segment == text else { return nil }
        continue
      }
      guard let value = String(text).removingPercentEncoding, !value.isEmpty,
        !value.unicodeScalars.contains("\0")
      else { return nil }
      values[String(segment.dropFirst().dropLast())] = value
    }
    return values
  }

  /// How many segments are fixed: `/projects/shared` goes before `/projects/{project_id}`.
  var precision: Int { segments.count { !$0.hasPrefix("{") } }
}

/// A part of the API that a later version brings.
struct NotBuilt: Error {
  var operationID: String
  var area: String
}

/// All routes, and how a request finds its own.
struct RouteTable: Sendable {
  let routes: [Route]

  init(_ routes: [Route]) { self.routes = routes.sorted { $0.precision > $1.precision } }

  enum Match {
    case route(Route, [String: String])
    case wrongMethod([String])
    case nothing
  }

  /// `HEAD` finds what `GET` does: the same answer, without its body.
  /// - Parameter path: below `/api/v2`, as it came.
  func find(_ method: String, _ path: Substring) -> Match {
    let wanted = method == "HEAD" ? "GET" : method
    let segments = path.split(separator: "/")
    var methods: [String] = []
    for route in routes {
      guard let values = route.match(segments) else { continue }
      if route.method == wanted { return .route(route, values) }
      methods += route.method == "GET" ? ["GET", "HEAD"] : [route.method]
    }
    return methods.isEmpty ? .nothing : .wrongMethod(methods)
  }
}
