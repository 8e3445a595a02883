import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization

/// Sends one HTTP request and takes its whole answer: no retries, no meaning.
///
/// ## Concurrency
/// Safe from any task. All stores of a process that trust the same authorities share one pool of
/// connections, which lives as long as the process.
struct HTTPTransport: Sendable {
  /// What went wrong below HTTP: the answer did not come, or not whole.
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  private let client: HTTPClient
  private let base: String

  private static let clients = Mutex<[String: HTTPClient]>([:])

  init(location: S3Location) throws {
    base = "\(location.scheme)://\(location.host)"
    let file = location.authoritiesFile ?? ""
    client = try HTTPTransport.clients.withLock { clients in
      if let known = clients[file] { return known }
      let made = try HTTPTransport.makeClient(authoritiesFile: location.authoritiesFile)
      clients[file] = made
      return made
    }
  }

  private static func makeClient(authoritiesFile: String?) throws -> HTTPClient {
    var tls = TLSConfiguration.makeClientConfiguration()
    if let authoritiesFile {
      do {
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authoritiesFile))
      } catch {
        throw ObjectStorageError(
          .misconfigured, operation: "open object store", key: authoritiesFile,
          detail: "read the trusted authorities", cause: error,
          hint: "'ca' and AWS_CA_BUNDLE name a file of PEM certificates")
      }
    }
    var configuration = HTTPClient.Configuration(
      tlsConfiguration: tls, redirectConfiguration: .disallow,
      timeout: .init(connect: .seconds(5), read: .seconds(longestWait)))
    configuration.httpVersion = .http1Only
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
    // Retries are the store's: one layer owns them.
    configuration.connectionPool.retryConnectionEstablishment = false
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  /// Seconds. The client's own times only back those that ``send(_:target:headers:stall:)`` is given.
  private static let longestWait: Int64 = 3600

  /// - Parameter target: path and query, encoded.
  /// - Parameter stall: how long neither body may move.
  /// - Throws: ``Failure``, or `CancellationError`.
  func send(
    _ request: S3Request, target: String, headers: [(name: String, value: String)],
    stall: Duration
  ) async throws -> S3Response {
    var outgoing = HTTPClientRequest(url: base + target)
    outgoing.method = HTTPMethod(rawValue: request.method.rawValue)
    for header in headers { outgoing.headers.add(name: header.name, value: header.value) }
    do {
      return try await whileMoving(stall) { [outgoing] movement in
        var outgoing = outgoing
        outgoing.body = HTTPTransport.body(of: request, movement)
        let answer = try await client.execute(
          outgoing, timeout: .seconds(HTTPTransport.longestWait))
        var response = S3Response(status: Int(answer.status.code))
        for (name, value) in answer.headers { response.headers[name.lowercased()] = value }
        response.body = try await HTTPTransport.collect(answer, request.answerLimit, movement)
        return response
      }
    } catch let failure as Failure {
      throw failure
    } catch let standstill as Standstill {
      throw Failure(description: "nothing came or went for \(standstill.time)")
    } catch {
      if Task.isCancelled { throw CancellationError() }
      throw Failure(description: "\(error)")
    }
  }

  private static func body(
    of request: S3Request, _ movement: Movement
  ) -> HTTPClientRequest.Body? {
    guard request.method == .put || request.method == .post else { return nil }
    if request.body.count <= PiecewiseBody.pieceSize {
      return .bytes(ByteBuffer(bytes: request.body))
    }
    return .stream(
      PiecewiseBody(bytes: request.body, movement: movement),
      length: .known(Int64(request.body.count)))
  }

  private static func collect(
    _ answer: HTTPClientResponse, _ limit: Int, _ movement: Movement
  ) async throws -> [UInt8] {
    movement.note()
    let promised = answer.headers.first(name: "content-length").flatMap { Int($0) }
    if let promised, promised > limit {
      throw Failure(description: "an answer of \(promised) bytes where \(limit) at most fit")
    }
    var body: [UInt8] = []
    if let promised { body.reserveCapacity(promised) }
    for try await chunk in answer.body {
      movement.note()
      guard body.count + chunk.readableBytes <= limit else {
        throw Failure(description: "an answer of more than \(limit) bytes")
      }
      chunk.withUnsafeReadableBytes { body.append(contentsOf: $0) }
    }
    if let promised, body.count != promised {
      throw Failure(description: "\(body.count) of \(promised) bytes came")
    }
    return body
  }
}
