import APITypes
import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// One HTTP request of the API, before it has an address.
public struct APIRequest: Sendable, Equatable {
  public enum Method: String, Sendable {
    case get = "GET"
    case post = "POST"
    case put = "PUT"
    case patch = "PATCH"
    case delete = "DELETE"
  }

  public var method: Method
  /// Path segments below the base; escaped when sent, so that no id can leave its place.
  public var path: [String]
  public var query: [(name: String, value: String)]
  public var body: Data?

  public init(
    _ method: Method, _ path: [String], query: [(name: String, value: String)] = [],
    body: Data? = nil
  ) {
    self.method = method
    self.path = path
    self.query = query
    self.body = body
  }

  public static func == (left: Self, right: Self) -> Bool {
    left.method == right.method && left.path == right.path && left.body == right.body
      && left.query.map { [$0.name, $0.value] } == right.query.map { [$0.name, $0.value] }
  }

  /// Path and query, percent-encoded.
  public var target: String {
    let path = path.map { "/" + Self.escape($0) }.joined()
    guard !query.isEmpty else { return path }
    return path + "?"
      + query.map { "\(Self.escape($0.name))=\(Self.escape($0.value))" }.joined(separator: "&")
  }

  /// RFC 3986's unreserved characters stay.
  private static func escape(_ text: String) -> String {
    text.utf8.reduce(into: "") { result, byte in
      switch UInt8(byte) {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
        result.unicodeScalars.append(UnicodeScalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        result += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
  }
}

/// An answer as it came.
public struct APIResponse: Sendable {
  public var status: Int
  public var body: Data
  public var retryAfterSeconds: Int?

  public init(status: Int, body: Data, retryAfterSeconds: Int? = nil) {
    self.status = status
    self.body = body
    self.retryAfterSeconds = retryAfterSeconds
  }
}

/// Carries requests to a server; tests have their own.
public protocol APITransport: Sendable {
  /// - Throws: ``APIClientError`` with `server_unreachable` when no answer came, with
  ///   ``APIClientError/refused`` when nothing was sent.
  func send(_ request: APIRequest, to base: String, key: String?) async throws -> APIResponse

  /// Hands a file over as it comes; returns the answer where it is an error.
  func download(
    _ request: APIRequest, to base: String, key: String?, from offset: Int,
    _ take: @escaping @Sendable (Data) throws -> Void
  ) async throws -> APIResponse?
}

extension APITransport {
  /// The whole answer at once, where a transport cannot do better.
  public func download(
    _ request: APIRequest, to base: String, key: String?, from offset: Int,
    _ take: @escaping @Sendable (Data) throws -> Void
  ) async throws -> APIResponse? {
    let answer = try await send(request, to: base, key: key)
    guard answer.status == 200 else { return answer }
    try take(answer.body.dropFirst(offset))
    return nil
  }
}

/// Whom to trust over TLS, beside the authorities that the machine knows.
public struct ServerTrust: Sendable, Hashable {
  /// PEM: an authority's certificate, or the server's own where it signs itself.
  public var certificateFile: String
  /// Whether the certificate must be for the name or address that is asked.
  public var checksName: Bool

  public init(certificateFile: String, checksName: Bool = true) {
    self.certificateFile = certificateFile
    self.checksName = checksName
  }
}

/// Requests over HTTP, with one client for the process and each trust.
public struct HTTPTransport: APITransport {
  /// Never shut down: they live as long as the process.
  private static let clients = Mutex<[ServerTrust?: HTTPClient]>([:])
  private let client: HTTPClient
  /// Above every answer of the API, in bytes.
  static let longestAnswer = 64 << 20
  private let timeout: TimeAmount

  public init(timeoutSeconds: Int64 = 90) {
    timeout = .seconds(timeoutSeconds)
    client = Self.clients.withLock { Self.client(nil, .makeClientConfiguration(), &$0) }
  }

  /// - Throws: ``APIClientError`` where the certificate cannot be read.
  public init(timeoutSeconds: Int64 = 90, trust: ServerTrust?) throws {
    timeout = .seconds(timeoutSeconds)
    let tls = try trust.map { try Self.configuration(of: $0) } ?? .makeClientConfiguration()
    client = Self.clients.withLock { Self.client(trust, tls, &$0) }
  }

  private static func configuration(of trust: ServerTrust) throws -> TLSConfiguration {
    var tls = TLSConfiguration.makeClientConfiguration()
    do {
      tls.additionalTrustRoots = [
        .certificates(try NIOSSLCertificate.fromPEMFile(trust.certificateFile))
      ]
    } catch {
      throw APIClientError(
        code: "certificate_unreadable",
        message: "read the server's certificate '\(trust.certificateFile)': \(error)",
        hint: "Set EXZO_API_CA to a file that can be read.")
    }
    if !trust.checksName { tls.certificateVerification = .noHostnameVerification }
    return tls
  }

  private static func client(
    _ trust: ServerTrust?, _ tls: TLSConfiguration, _ clients: inout [ServerTrust?: HTTPClient]
  ) -> HTTPClient {
    if let known = clients[trust] { return known }
    var configuration = HTTPClient.Configuration.singletonConfiguration
    // A refused connection is an answer: the default would try again until the request's time is up.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.tlsConfiguration = tls
    let made = HTTPClient(
      eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
    clients[trust] = made
    return made
  }

  /// Longest time without a byte of a download.
  private static let downloadPause = TimeAmount.hours(24)

  /// Hands a file over as it comes; returns the answer where it is an error.
  public func download(
    _ request: APIRequest, to base: String, key: String?, from offset: Int,
    _ take: @escaping @Sendable (Data) throws -> Void
  ) async throws -> APIResponse? {
    var outgoing = HTTPClientRequest(url: base + request.target)
    if let key { outgoing.headers.add(name: "Authorization", value: "Bearer \(key)") }
    if offset > 0 { outgoing.headers.add(name: "Range", value: "bytes=\(offset)-") }
    let answer: HTTPClientResponse
    do {
      answer = try await client.execute(outgoing, timeout: Self.downloadPause)
    } catch {
      throw Self.unreachable(base, error)
    }
    // Nothing is left to come.
    if answer.status == .rangeNotSatisfiable, offset > 0 { return nil }
    guard answer.status == (offset > 0 ? .partialContent : .ok) else {
      let body = try await answer.body.collect(upTo: Self.longestAnswer)
      return APIResponse(status: Int(answer.status.code), body: Data(body.readableBytesView))
    }
    var pieces = answer.body.makeAsyncIterator()
    while let piece = try await Self.next(of: &pieces, request) {
      try take(Data(piece.readableBytesView))
    }
    return nil
  }

  /// What ends a body early has errors of the client's, the parser's and the socket's own.
  private static func next(
    of pieces: inout HTTPClientResponse.Body.AsyncIterator, _ request: APIRequest
  ) async throws -> ByteBuffer? {
    do {
      return try await pieces.next()
    } catch let error where !(error is CancellationError) {
      throw APIClientError(
        code: APIClientError.downloadCut,
        message: "\(request.target): the download was cut off: \(error)",
        hint: "Run it again: it goes on where it ended.")
    }
  }

  public func send(
    _ request: APIRequest, to base: String, key: String?
  ) async throws -> APIResponse {
    var outgoing = HTTPClientRequest(url: base + request.target)
    outgoing.method = HTTPMethod(rawValue: request.method.rawValue)
    outgoing.headers.add(name: "Accept", value: "application/json")
    if let key { outgoing.headers.add(name: "Authorization", value: "Bearer \(key)") }
    if let body = request.body {
      outgoing.headers.add(name: "Content-Type", value: "application/json")
      outgoing.body = .bytes(ByteBuffer(bytes: body))
    }
    do {
      let answer = try await client.execute(outgoing, timeout: timeout)
      let body = try await answer.body.collect(upTo: Self.longestAnswer)
      return APIResponse(
        status: Int(answer.status.code), body: Data(body.readableBytesView),
        retryAfterSeconds: answer.headers.first(name: "Retry-After").flatMap { Int($0) })
    } catch {
      throw Self.unreachable(base, error)
    }
  }

  private static func unreachable(_ base: String, _ error: any Error) -> APIClientError {
    // A name may stand for several addresses, an address is tried alone.
    let causes = (error as? NIOConnectionError)?.connectionErrors.map(\.error) ?? [error]
    let isRefused =
      !causes.isEmpty && causes.allSatisfy { ($0 as? IOError)?.errnoCode == ECONNREFUSED }
    return APIClientError(
      code: isRefused ? APIClientError.refused : "server_unreachable",
      message: isRefused
        ? "connect to \(base): connection refused: no server listens there"
        : "connect to \(base): \(error)",
      hint: "Is the server running? Start it with 'exzo serve', or set EXZO_API_HOST.")
  }
}
