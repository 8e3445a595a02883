import Foundation
import Synchronization

/// An HTTP proxy on loopback that hands requests on, and does harm where a test says so.
///
/// One thread a connection; each request goes to the server over a connection of its own.
public final class FaultProxy: Sendable {
  /// What is done to one request.
  public enum Fault: Sendable {
    /// The server is not asked; the client gets this status.
    case status(Int)
    /// The server is not asked; the client gets this status and an error in XML with this code.
    case refusal(Int, String)
    /// The server is not asked; the connection is reset.
    case resetBefore
    /// The server does the work; its answer is lost in a reset.
    case resetAfter
    /// The answer's body ends after so many bytes, and the connection with it.
    case cutBody(Int)
    /// Half of the body, with a length that says it is all; what else the headers say stays.
    case halfBody
    /// As `halfBody`, and the range that is said to be answered is halved too, but not the total.
    case halfRange
    /// The body is longer than the headers say.
    case longBody
    /// One byte of the body is turned.
    case flipByte
    /// The answer comes after so many milliseconds.
    case slow(Int)
    /// Bytes that are no HTTP.
    case garbage
    /// Status 200 and an error in XML.
    case errorInBody
  }

  /// One request, as a rule sees it.
  public struct Call: Sendable {
    public var method: String
    public var target: String
    /// 1 for the first of all.
    public var number: Int
    public var body: [UInt8] = []
  }

  public typealias Rule = @Sendable (Call) -> Fault?

  public let port: Int
  private let upstream: Int
  private let listener: TCPListener
  private let state = Mutex(State())

  private struct State {
    var rule: Rule?
    var calls: [Call] = []
    var bytesOut = 0
  }

  public init(upstream: Int, rule: Rule? = nil) throws {
    self.upstream = upstream
    listener = try TCPListener()
    port = listener.port
    state.withLock { $0.rule = rule }
    let listener = listener
    Thread.detachNewThread { [weak self] in
      while let client = listener.accept() {
        guard let self else { return }
        Thread.detachNewThread { self.serve(client) }
      }
    }
  }

  deinit { listener.close() }

  /// Takes no more connections.
  public func stop() { listener.close() }

  public func setRule(_ rule: Rule?) {
    state.withLock {
      $0.rule = rule
      $0.calls = []
      $0.bytesOut = 0
    }
  }

  /// Requests since the rule was set.
  public var calls: [Call] { state.withLock { $0.calls } }
  /// Bytes of answers' bodies since the rule was set.
  public var bytesOut: Int { state.withLock { $0.bytesOut } }

  private func serve(_ client: TCPConnection) {
    var pending: [UInt8] = []
    while let message = HTTPMessage.read(from: client, pending: &pending, isAnswer: false) {
      let words = message.startLine.split(separator: " ")
      guard words.count >= 2 else { break }
      let (call, fault) = state.withLock { state -> (Call, Fault?) in
        let call = Call(
          method: String(words[0]), target: String(words[1]), number: state.calls.count + 1)
        state.calls.append(call)
        return (call, state.rule?(call))
      }
      guard answer(message, call, fault, client) else { break }
    }
    client.close()
  }

  /// - Returns: whether the connection goes on.
  private func answer(
    _ request: HTTPMessage, _ call: Call, _ fault: Fault?, _ client: TCPConnection
  ) -> Bool {
    switch fault {
    case .status(let status):
      return client.write(HTTPMessage(status: status, body: []).encoded)
    case .refusal(let status, let code):
      let body = "<Error><Code>\(code)</Code><Message>no</Message></Error>"
      return client.write(HTTPMessage(status: status, body: Array(body.utf8)).encoded)
    case .resetBefore:
      client.reset()
      return false
    case .garbage:
      client.write(Array("this is not HTTP\r\n\r\n".utf8))
      return false
    default: break
    }
    guard var answer = ask(request) else { return false }
    if call.method == "HEAD" { answer.body = [] }
    state.withLock { $0.bytesOut += answer.body.count }
    return deliver(answer, fault, client)
  }

  private func deliver(
    _ original: HTTPMessage, _ fault: Fault?, _ client: TCPConnection
  ) -> Bool {
    var answer = original
    let half = answer.body.count / 2
    switch fault {
    case .resetAfter:
      client.reset()
      return false
    case .cutBody(let count):
      let kept = max(0, answer.encoded.count - answer.body.count + min(count, answer.body.count))
      client.write(Array(answer.encoded[..<kept]))
      return false
    case .halfBody: answer.setBody(Array(answer.body[..<half]))
    case .halfRange:
      answer.setBody(Array(answer.body[..<half]))
      if let range = answer.header("content-range"), let dash = range.firstIndex(of: "-"),
        let start = Int(range[..<dash].drop { !$0.isNumber }),
        let slash = range.firstIndex(of: "/")
      {
        answer.setHeader("Content-Range", "bytes \(start)-\(start + half - 1)\(range[slash...])")
      }
    case .longBody:
      client.write(answer.encoded + [1, 2, 3])
      return false
    case .flipByte: if half > 0 { answer.body[half] ^= 0x40 }
    case .slow(let milliseconds): Thread.sleep(forTimeInterval: Double(milliseconds) / 1000)
    case .errorInBody:
      answer = HTTPMessage(
        status: 200,
        body: Array("<Error><Code>InternalError</Code><Message>no</Message></Error>".utf8))
    default: break
    }
    return client.write(answer.encoded)
  }

  private func ask(_ request: HTTPMessage) -> HTTPMessage? {
    // The server may have been stopped by the test: then the client's connection ends too.
    guard let server = try? TCPConnection(port: upstream) else { return nil }
    defer { server.close() }
    var outgoing = request
    outgoing.setHeader("Connection", "close")
    guard server.write(outgoing.encoded) else { return nil }
    var pending: [UInt8] = []
    guard var answer = HTTPMessage.read(from: server, pending: &pending, isAnswer: true) else {
      return nil
    }
    answer.removeHeader("connection")
    return answer
  }
}
