import Foundation
import TestSupport
import Testing

/// What the operator is told, by both ways, of a compute whose server does not come up.
@Suite(.serialized, .heavy) struct AlertTests {
  /// Takes every `POST` and keeps its body, a line each.
  private static let receiver = """
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with open(sys.argv[2], "ab") as file: file.write(body.replace(b"\\n", b" ") + b"\\n")
            self.send_response(204)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """
  private static func command(_ file: String) -> String {
    #"{ cat; echo; printf '%s %s %s %s\n' "$EXZO_ALERT_EVENT" "$EXZO_ALERT_KIND" "#
      + #""$EXZO_ALERT_SUBJECT" "$EXZO_ALERT_MESSAGE"; } >> "# + file
  }

  @Test func aServerThatDoesNotComeUpIsToldByWebhookAndCommand() async throws {
    try await withTemporaryDirectory { directory in
      let (hooked, ran) = ("\(directory)/hooked", "\(directory)/ran")
      let port = try unusedPort()
      let receiver = try BackgroundProgram(
        ["python3", "-c", Self.receiver, "\(port)", hooked], log: "\(directory)/receiver.log")
      defer {
        receiver.signal(SIGKILL)
        receiver.wait()
      }
      try await withPlatform(
        arguments: [
          "--alert-webhook", "http://127.0.0.1:\(port)/", "--alert-command", Self.command(ran),
        ]
      ) { platform in
        let scene = try await Scene(platform, name: "told", sql: "CREATE TABLE t (i int)")
        let line = try #require(
          try FileManager.default.contentsOfDirectory(
            atPath: "\(platform.directory)/data/lines"
          ).first)
        try Self.breakServer("\(platform.directory)/data/lines/\(line)/pgdata")
        let sentence =
          "the compute of branch 'main' of project '\(scene.project)' (line '\(line)') reports: "
          + "server did not come up again: "
        for file in [hooked, ran] {
          let text = try await Self.text(of: file)
          #expect(text.contains(sentence), "\(text)")
          #expect(text.contains(#""kind":"compute_alarm""#), "\(text)")
          #expect(text.contains(#""event":"raised""#), "\(text)")
          #expect(text.contains(#""hint":"its log is agent.log in the line's directory""#))
        }
        #expect(try await Self.text(of: ran).contains("raised compute_alarm \(line) \(sentence)"))
      }
    }
  }

  /// Sends every `POST` away; what a browser would see there is fine.
  private static let redirect = """
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(302)
            self.send_header("Location", "/signin")
            self.send_header("Content-Length", "0")
            self.end_headers()
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """

  /// A redirect takes no message, and a command that hangs, with what it started, keeps serve from nothing.
  @Test func neitherARedirectNorACommandThatHangsTakesAnAlert() async throws {
    try await withTemporaryDirectory { directory in
      let port = try unusedPort()
      let receiver = try BackgroundProgram(
        ["python3", "-c", Self.redirect, "\(port)"], log: "\(directory)/receiver.log")
      defer {
        receiver.signal(SIGKILL)
        receiver.wait()
      }
      try await withPlatform(
        arguments: [
          "--alert-free-disk", "1000000T", "--alert-webhook", "http://127.0.0.1:\(port)/",
          "--alert-command", "sleep 240 & wait",
        ]
      ) { platform in
        var told: [[String: Any]] = []
        for _ in 0..<600 where told.isEmpty {
          try await Task.sleep(for: .milliseconds(100))
          let alerts = try platform.call("GET", "/alerts")["alerts"] as? [[String: Any]] ?? []
          told = alerts.flatMap { $0["notices"] as? [[String: Any]] ?? [] }.filter { notice in
            let error = notice["error"] as? String ?? ""
            return notice["channel"] as? String == "webhook"
              && (notice["delivered_at"] != nil || error.contains("302"))
          }
        }
        let notice = try #require(told.first)
        #expect(notice["delivered_at"] == nil, "\(notice)")
        let error = notice["error"] as? String ?? ""
        #expect(error.contains("302, a redirect to '/signin'"), "\(error)")
        let start = ContinuousClock.now
        platform.end(SIGTERM)
        #expect(ContinuousClock.now - start < .seconds(60))
        try await platform.start()
      }
    }
  }

  /// A setting that nobody knows, and an end without warning.
  private static func breakServer(_ directory: String) throws {
    let settings = "\(directory)/postgresql.auto.conf"
    try run(["sh", "-c", "echo 'no_such_setting = 1' >> \(settings) && sync \(settings)"])
    let pid = try String(contentsOfFile: "\(directory)/postmaster.pid", encoding: .utf8)
      .split(separator: "\n").first.flatMap { Int32($0) }
    #expect(kill(try #require(pid), SIGKILL) == 0)
  }

  private static func text(of file: String) async throws -> String {
    for _ in 0..<600 {
      if let data = FileManager.default.contents(atPath: file), data.last == 10 {
        return String(decoding: data, as: UTF8.self)
      }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw CommandFailure(description: "nothing was told in '\(file)'")
  }
}
