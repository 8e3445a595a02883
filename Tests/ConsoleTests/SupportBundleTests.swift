import APITypes
import Catalog
import ControlPlane
import Foundation
import TestSupport
import Testing

@Suite(.serialized, .heavy) struct SupportBundleTests {
  /// Twenty secrets in every place where an account can leave text.
  @Test func aBundleHoldsNoneOfTwentyPlantedSecrets() async throws {
    try await ConsoleInstallation.with { console in
      let secrets = (1...20).map { "planted-\($0)-\(UUID().uuidString.prefix(8).lowercased())" }
      var left = secrets.makeIterator()
      func secret() -> String { left.next() ?? "none" }
      func call(_ method: String, _ path: String, _ body: String? = nil) throws -> String {
        let answer = try console.send(
          method, "/api/v2\(path)", ["Authorization": "Bearer \(console.key)"], body: body)
        #expect((200..<300).contains(answer.status), "\(method) \(path): \(answer.text)")
        return answer.text
      }
      let made = try call(
        "POST", "/projects",
        #"{"project":{"name":"\#(secret())","branch":{"name":"\#(secret())","database_name":"\#(secret())","role_name":"\#(secret())","annotations":{"\#(secret())":"\#(secret())"}},"settings":{"allowed_ips":{"ips":["10.1.2.3"]}}}}"#
      )
      let project = try APICoding.decode(API.CreatedProject.self, from: Data(made.utf8))
      try await settle(console, project.project.id)
      let branch = "/projects/\(project.project.id)/branches/\(project.branch.id)"
      for _ in 0..<3 {
        _ = try call("POST", "\(branch)/roles", #"{"role":{"name":"\#(secret())"}}"#)
        try await settle(console, project.project.id)
      }
      for _ in 0..<3 { _ = try call("POST", "\(branch)/snapshot?name=\(secret())") }
      for _ in 0..<3 { _ = try call("POST", "/api_keys", #"{"key_name":"\#(secret())"}"#) }
      for _ in 0..<2 {
        _ = try call(
          "POST", "/support/tickets",
          #"{"ticket":{"subject":"\#(secret())","text":"\#(secret())"}}"#)
      }
      _ = try call(
        "POST", "/projects/\(project.project.id)/permissions",
        #"{"email":"\#(secret())@example.com"}"#)
      #expect(left.next() == nil, "all are planted")
      let bundle = try call("GET", "/support/bundle")
      for secret in secrets { #expect(!bundle.contains(secret), "\(secret)") }
      let passwords = project.roles.compactMap(\.password) + [console.key]
      for password in passwords { #expect(!bundle.contains(password)) }
      #expect(bundle.contains(project.project.id), "the bundle is not empty")
    }
  }

  /// The operator sees what the doctor found; others whether it is well, and not where things lie.
  @Test func aBundleTellsVersionsAndWhatTheDoctorSays() async throws {
    var settings = InstallationSettings()
    settings.machineReport = {
      API.MachineReport(
        postgresVersion: "postgres (PostgreSQL) 15.99",
        doctor: [
          API.DoctorFinding(
            check: "disk", isGood: false, found: "1 MB free of '/srv/exzo'", hint: "make room")
        ])
    }
    try await ConsoleInstallation.with(settings) { console in
      func bundle(_ key: String) throws -> String {
        try console.send("GET", "/api/v2/support/bundle", ["Authorization": "Bearer \(key)"]).text
      }
      let made = try console.send(
        "POST", "/api/v2/accounts", ["Authorization": "Bearer \(console.key)"],
        body: #"{"account":{"name":"n","email":"n@example.com","plan":"pro"}}"#)
      let other = try APICoding.decode(API.CreatedAccount.self, from: Data(made.text.utf8))
      for text in [try bundle(console.key), try bundle(other.apiKey.key)] {
        #expect(text.contains(API.version) && text.contains("15.99"), "\(text)")
        #expect(text.contains(#""check":"disk""#) && text.contains(#""ok":false"#))
      }
      #expect(try bundle(console.key).contains("/srv/exzo"))
      #expect(try !bundle(other.apiKey.key).contains("/srv/exzo"))
    }
  }

  @Test func ticketsAreAnsweredByTheOperator() async throws {
    try await ConsoleInstallation.with { console in
      let admin = ["Authorization": "Bearer \(console.key)"]
      func account(_ plan: String) throws -> [String: String] {
        let made = try console.send(
          "POST", "/api/v2/accounts", admin,
          body: #"{"account":{"name":"\#(plan)","email":"\#(plan)@example.com","plan":"\#(plan)"}}"#
        )
        let key = try APICoding.decode(API.CreatedAccount.self, from: Data(made.text.utf8))
        return ["Authorization": "Bearer \(key.apiKey.key)"]
      }
      let (free, pro) = (try account("free"), try account("pro"))
      let body = #"{"ticket":{"subject":"slow","text":"why?","includes_bundle":true}}"#
      #expect(try console.send("POST", "/api/v2/support/tickets", free, body: body).status == 412)
      let made = try console.send("POST", "/api/v2/support/tickets", pro, body: body)
      #expect(made.status == 201, "\(made.text)")
      let ticket = try APICoding.decode(API.SupportTicketResponse.self, from: Data(made.text.utf8))
      let path = "/api/v2/support/tickets/\(ticket.ticket.id)/messages"
      let answer = #"{"message":{"text":"because"}}"#
      #expect(try console.send("POST", path, free, body: answer).status == 404)
      let answered = try console.send("POST", path, admin, body: answer)
      #expect(answered.text.contains(#""state":"answered""#), "\(answered.text)")
      #expect(
        try console.send("GET", "/api/v2/support/tickets", free).text.contains("slow") == false)
      #expect(try console.send("GET", "/api/v2/support/tickets", pro).text.contains("because"))
    }
  }

  private func settle(_ console: ConsoleInstallation, _ project: String) async throws {
    for _ in 0..<400 {
      let list = try console.send(
        "GET", "/api/v2/projects/\(project)/operations",
        ["Authorization": "Bearer \(console.key)"])
      let found = try APICoding.decode(API.OperationListResponse.self, from: Data(list.text.utf8))
      if found.operations.allSatisfy({ $0.status == .finished }) { return }
      try await Task.sleep(for: .milliseconds(25))
    }
    Issue.record("operations do not end")
  }
}
