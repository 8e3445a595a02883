import APITypes
import Foundation
import Synchronization

/// An error answer, or none at all.
public struct APIClientError: Error, Sendable, Equatable, CustomStringConvertible {
  /// HTTP's; 0 where no answer came.
  public var status: Int
  /// The server's stable word.
  public var code: String
  public var message: String
  public var hint: String?

  /// The code where nobody listens at the server's address: the request was not sent.
  public static let refused = "connection_refused"
  /// The code where a download ended before its end.
  public static let downloadCut = "download_cut"

  public init(status: Int = 0, code: String, message: String, hint: String? = nil) {
    self.status = status
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.map { "\(message)\nHINT: \($0)" } ?? message }
}

/// A decoded answer and its bytes, which hold fields that this version does not know.
public struct APIAnswer<Value: Sendable>: Sendable {
  public var value: Value
  public var json: Data

  public init(value: Value, json: Data) {
    self.value = value
    self.json = json
  }
}

/// A typed client of `/api/v2`.
///
/// Retries what the server says is safe to repeat (423, 429, and 503 on GET), with its
/// `Retry-After` or growing pauses, at most ``attempts`` times; and for ``refusedPatience`` what was not sent,
/// because nobody listened: a server that is started anew is away for that long. Nothing else.
public struct APIClient: Sendable {
  /// `http://host:port`, without a slash at the end.
  public let server: String
  private let key: String?
  private let transport: any APITransport
  private let pause: @Sendable (Duration) async throws -> Void

  static let attempts = 8
  private static let longestPause = 30
  static let refusedPatience = Duration.seconds(5)
  private static let refusedPause = Duration.milliseconds(200)

  /// - Parameter pause: how to wait; tests do not.
  public init(
    server: String, key: String?, transport: any APITransport = HTTPTransport(),
    pause: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
  ) {
    self.server = server.hasSuffix("/") ? String(server.dropLast()) : server
    self.key = key
    self.transport = transport
    self.pause = pause
  }

  /// Sends a request below `/api/v2` and decodes its answer.
  ///
  /// - Throws: ``APIClientError``.
  public func send<Value: Decodable & Sendable>(
    _ request: APIRequest, as type: Value.Type = Value.self
  ) async throws -> APIAnswer<Value> {
    let response = try await response(to: request)
    do {
      return APIAnswer(
        value: try APICoding.decode(Value.self, from: response.body), json: response.body)
    } catch {
      throw APIClientError(
        status: response.status, code: "answer_unreadable",
        message: "read the answer of \(request.method.rawValue) \(request.target): \(error)",
        hint: "Client and server may be of different versions.")
    }
  }

  /// Downloads a file below `/api/v2` from a byte on, handing pieces over as they come.
  ///
  /// Where it is cut off it goes on, as long as each try brings something: at bytes that cannot be read the
  /// server so gets to say why.
  ///
  /// - Throws: ``APIClientError``; what was handed over stays so.
  public func download(
    _ request: APIRequest, from offset: Int = 0, _ take: @escaping @Sendable (Data) throws -> Void
  ) async throws {
    let end = DownloadEnd(offset)
    while true {
      let start = end.value
      do {
        let failure = try await transport.download(
          request, to: "\(server)/api/v2", key: key, from: start
        ) { piece in
          try take(piece)
          end.advance(by: piece.count)
        }
        if let failure { throw Self.error(failure, of: request) }
        return
      } catch let error as APIClientError where error.code == APIClientError.downloadCut {
        guard end.value > start else { throw error }
      }
    }
  }

  /// Whether the server says that it is ready; needs no key.
  public func isReady() async throws -> Bool {
    let probe = APIRequest(.get, ["readyz"])
    return try await transport.send(probe, to: server, key: nil).status == 200
  }

  private func response(to request: APIRequest) async throws -> APIResponse {
    var attempt = 1
    while true {
      let response = try await arrived(request)
      if 200..<300 ~= response.status { return response }
      guard attempt < Self.attempts, Self.isRepeatable(response.status, request.method) else {
        throw Self.error(response, of: request)
      }
      let seconds = response.retryAfterSeconds ?? (1 << (attempt - 1)) / 2
      try await pause(.seconds(min(max(seconds, 0), Self.longestPause)) + .milliseconds(100))
      attempt += 1
    }
  }

  private func arrived(_ request: APIRequest) async throws -> APIResponse {
    var waited = Duration.zero
    while true {
      do {
        return try await transport.send(request, to: "\(server)/api/v2", key: key)
      } catch let error as APIClientError where error.code == APIClientError.refused {
        guard waited < Self.refusedPatience else { throw error }
        try await pause(Self.refusedPause)
        waited += Self.refusedPause
      }
    }
  }

  private static func isRepeatable(_ status: Int, _ method: APIRequest.Method) -> Bool {
    status == 423 || status == 429 || (status == 503 && method == .get)
  }

  private static func error(_ response: APIResponse, of request: APIRequest) -> APIClientError {
    let hint =
      response.status == 401
      ? "Set EXZO_API_KEY, or EXZO_DATA_DIR to the server's data directory." : nil
    // Another program may listen there, so an answer in another form is no surprise.
    guard let body = try? APICoding.decode(API.ErrorBody.self, from: response.body) else {
      return APIClientError(
        status: response.status, code: "http_\(response.status)",
        message: "\(request.method.rawValue) \(request.target): HTTP \(response.status)", hint: hint
      )
    }
    let parts = body.message.components(separatedBy: "\nHINT: ")
    return APIClientError(
      status: response.status, code: body.code, message: parts[0],
      hint: parts.count > 1 ? parts[1] : hint)
  }
}

/// Where what came of a download ends.
private final class DownloadEnd: Sendable {
  private let bytes: Mutex<Int>

  init(_ offset: Int) { bytes = Mutex(offset) }

  var value: Int { bytes.withLock { $0 } }
  func advance(by count: Int) { bytes.withLock { $0 += count } }
}
