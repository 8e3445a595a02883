import ControlPlane
import ControlPlaneSimulation
import Foundation
import TestSupport
import Testing

@testable import Console

/// API and Console on a loopback port, with a real catalog and simulated computes.
struct ConsoleInstallation: Sendable {
  let port: Int
  let key: String
  let plane: ControlPlane

  static func with(
    _ settings: InstallationSettings = InstallationSettings(requestsPerMinute: 0),
    _ body: @escaping @Sendable (ConsoleInstallation) async throws -> Void
  ) async throws {
    try await ServedSimulation.with(
      settings: settings,
      pages: { plane, api, logger in
        try Console(
          plane: plane, api: api,
          settings: ConsoleSettings(communityURL: "https://community.example.org"), logger: logger)
      },
      { served in
        try await body(
          ConsoleInstallation(port: served.port, key: served.key, plane: served.plane))
      })
  }

  var origin: String { "http://127.0.0.1:\(port)" }

  struct Answer {
    var status: Int
    /// Lower case, the last of equal ones.
    var headers: [String: String]
    var text: String
  }

  /// Redirects are told, not followed; cookies are sent only where they are given.
  func send(
    _ method: String, _ path: String, _ headers: [String: String] = [:], body: String? = nil
  ) throws -> Answer {
    var arguments = [
      "curl", "-sS", "-i", "--max-time", "30", "-X", method, "--path-as-is", "\(origin)\(path)",
    ]
    for (name, value) in headers { arguments += ["-H", "\(name): \(value)"] }
    if body != nil { arguments += ["--data-binary", "@-"] }
    let output = try run(arguments, input: body).output
    let parts = output.replacing("\r\n", with: "\n").components(separatedBy: "\n\n")
    let lines = parts[0].split(separator: "\n")
    var found: [String: String] = [:]
    for line in lines.dropFirst() {
      let pair = line.split(separator: ":", maxSplits: 1).map(String.init)
      if pair.count == 2 {
        found[pair[0].lowercased()] = pair[1].trimmingCharacters(in: .whitespaces)
      }
    }
    return Answer(
      status: lines.first.flatMap { Int($0.split(separator: " ")[1]) } ?? 0, headers: found,
      text: parts.dropFirst().joined(separator: "\n\n"))
  }

  /// A session's cookie and the token of its forms.
  func signIn(_ key: String? = nil) throws -> (cookie: String, token: String) {
    let answer = try send(
      "POST", "/signin",
      ["Origin": origin, "Content-Type": "application/x-www-form-urlencoded"],
      body: "key=\(key ?? self.key)&next=/keys")
    #expect(answer.status == 303)
    #expect(answer.headers["location"] == "/keys")
    let cookie = String((answer.headers["set-cookie"] ?? "").split(separator: ";")[0])
    let page = try send("GET", "/keys", ["Cookie": cookie])
    let token = page.text.firstMatch(of: #/name="form-token" content="([A-Za-z0-9]+)"/#)?.1
    return (cookie, String(try #require(token)))
  }
}
