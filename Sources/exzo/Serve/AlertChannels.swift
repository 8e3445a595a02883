import APITypes
import AsyncHTTPClient
import Compute
import ControlPlane
import Foundation
import NIOCore

/// Alerts by `POST` to a URL, as JSON; any status of 200 to 299 takes one. Redirects are not followed: after most of
/// them the request would be a `GET`, which tells nobody anything.
struct WebhookChannel: AlertChannel {
  let url: String
  var name: String { "webhook" }

  private static let client: HTTPClient = {
    var configuration = HTTPClient.Configuration.singletonConfiguration
    configuration.redirectConfiguration = .disallow
    return HTTPClient(
      eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
  }()

  func send(_ message: API.AlertMessage) async throws {
    var request = HTTPClientRequest(url: url)
    request.method = .POST
    request.headers.add(name: "Content-Type", value: "application/json")
    request.headers.add(name: "User-Agent", value: "exzo")
    request.body = .bytes(ByteBuffer(bytes: try APICoding.encode(message)))
    let answer = try await Self.client.execute(request, timeout: .seconds(10))
    if let place = answer.headers.first(name: "Location"), (300..<400).contains(answer.status.code)
    {
      throw ServeError(
        "tell the webhook: it answered \(answer.status.code), a redirect to '\(place)'",
        hint: "name the URL that takes the message itself in --alert-webhook")
    }
    guard (200..<300).contains(answer.status.code) else {
      throw ServeError("tell the webhook: it answered \(answer.status.code)")
    }
  }
}

/// Alerts by a shell command: JSON on standard input, the main words in the environment; status 0 takes
/// one. What it leaves in the background is not waited for; what takes too long is ended with all that it started.
struct CommandChannel: AlertChannel {
  let command: String
  var name: String { "command" }
  /// How long the command may take.
  private static let seconds = 60.0

  func send(_ message: API.AlertMessage) async throws {
    let result = try await runProgram(
      "/bin/sh", ["-c", command], input: try APICoding.encode(message),
      environment: [
        "EXZO_ALERT_EVENT": message.event, "EXZO_ALERT_KIND": message.alert.kind.rawValue,
        "EXZO_ALERT_SUBJECT": message.alert.subject, "EXZO_ALERT_MESSAGE": message.alert.message,
      ], seconds: Self.seconds)
    guard !result.isTimedOut else {
      throw ServeError(
        "run the alert command: it had not ended after \(Int(Self.seconds)) s and was killed: "
          + "\(result.output.suffix(500))",
        hint: "give it a time limit of its own, such as 'curl --max-time 20'")
    }
    guard result.status == 0 else {
      throw ServeError(
        "run the alert command: status \(result.status): \(result.output.suffix(500))")
    }
  }
}
