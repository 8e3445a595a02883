import APITypes
import Catalog
import Foundation
import TestSupport
import Testing

@testable import Console

@Suite(.serialized, .heavy) struct SessionTests {
  @Test func nothingIsShownToWhoIsNotSignedIn() async throws {
    try await ConsoleInstallation.with { console in
      for path in ["/projects", "/keys", "/help/restore", "/projects/x/settings?a=b%26c"] {
        let answer = try console.send("GET", path)
        #expect(answer.status == 303)
        let next = PageContext.escape(path)
        #expect(answer.headers["location"] == "/signin?next=\(next)")
      }
      #expect(try console.send("GET", "/console/api/v2/projects").status == 401)
      #expect(try console.send("GET", "/console/events").status == 401)
      #expect(
        try console.send("GET", "/projects", ["Cookie": "exzo=chosen-by-another"]).status == 303)
      let wrong = try console.send(
        "POST", "/signin", ["Origin": console.origin], body: "key=exzo_wrong")
      #expect(wrong.status == 401 && wrong.headers["set-cookie"] == nil)
      #expect(wrong.text.contains("wrong or revoked"))
    }
  }

  @Test func aSessionIsMadeAnewAndItsCookieIsClosed() async throws {
    try await ConsoleInstallation.with { console in
      let answer = try console.send(
        "POST", "/signin", ["Origin": console.origin, "Cookie": "exzo=fixed"],
        body: "key=\(console.key)&next=//evil.example/")
      #expect(answer.headers["location"] == "/projects")
      let cookie = answer.headers["set-cookie"] ?? ""
      #expect(!cookie.contains("exzo=fixed"))
      for part in ["HttpOnly", "SameSite=Lax", "Path=/"] { #expect(cookie.contains(part)) }
      // The catalog knows its hash only.
      let text = String(cookie.split(separator: ";")[0].dropFirst("exzo=".count))
      let row = try await console.plane.catalog.read { try $0.consoleSession(text) }
      #expect(row == nil)
    }
  }

  @Test func revokingTheKeyEndsItsSessions() async throws {
    try await ConsoleInstallation.with { console in
      let (admin, token) = try console.signIn()
      let made = try console.send(
        "POST", "/console/api/v2/api_keys",
        ["Cookie": admin, "Origin": console.origin, "X-Form-Token": token],
        body: #"{"key_name":"second"}"#)
      let key = try APICoding.decode(API.CreatedKey.self, from: Data(made.text.utf8))
      let (cookie, _) = try console.signIn(key.key)
      #expect(try console.send("GET", "/keys", ["Cookie": cookie]).status == 200)
      let revoked = try console.send(
        "DELETE", "/console/api/v2/api_keys/\(key.id)",
        ["Cookie": admin, "Origin": console.origin, "X-Form-Token": token])
      #expect(revoked.status == 200)
      #expect(try console.send("GET", "/keys", ["Cookie": cookie]).status == 303)
      #expect(try console.send("GET", "/keys", ["Cookie": admin]).status == 200)
    }
  }

  @Test func signingOutEndsTheSession() async throws {
    try await ConsoleInstallation.with { console in
      let (cookie, token) = try console.signIn()
      let headers = ["Cookie": cookie, "Origin": console.origin]
      #expect(try console.send("POST", "/signout", headers, body: "token=wrong").status == 403)
      #expect(try console.send("GET", "/keys", ["Cookie": cookie]).status == 200)
      #expect(try console.send("POST", "/signout", headers, body: "token=\(token)").status == 303)
      #expect(try console.send("GET", "/keys", ["Cookie": cookie]).status == 303)
    }
  }

  @Test func writesOfForeignPagesAreRefused() async throws {
    try await ConsoleInstallation.with { console in
      let (cookie, token) = try console.signIn()
      let path = "/console/api/v2/api_keys"
      let body = #"{"key_name":"stolen"}"#
      let attempts: [[String: String]] = [
        ["Cookie": cookie],
        ["Cookie": cookie, "X-Form-Token": token],
        ["Cookie": cookie, "Origin": console.origin],
        ["Cookie": cookie, "Origin": console.origin, "X-Form-Token": token + "x"],
        ["Cookie": cookie, "Origin": "http://evil.example", "X-Form-Token": token],
        ["Cookie": cookie, "Origin": "null", "X-Form-Token": token],
        [
          "Cookie": cookie, "Origin": console.origin, "X-Form-Token": token,
          "Sec-Fetch-Site": "cross-site",
        ],
      ]
      for headers in attempts {
        #expect(try console.send("POST", path, headers, body: body).status == 403, "\(headers)")
      }
      let foreign = try console.send(
        "POST", "/signin", ["Origin": "http://evil.example"], body: "key=\(console.key)")
      #expect(foreign.status == 403 && foreign.headers["set-cookie"] == nil)
      let account = try #require(
        try await console.plane.catalog.read { try $0.firstAdministrator() })
      #expect(try await console.plane.accounts.keys(of: account).map(\.name) == ["admin"])
    }
  }

  @Test func otherHostNamesAndFramesAreRefused() async throws {
    try await ConsoleInstallation.with { console in
      let (cookie, _) = try console.signIn()
      for host in ["evil.example", "evil.example:\(console.port)", "127.0.0.1.nip.io"] {
        let answer = try console.send("GET", "/keys", ["Cookie": cookie, "Host": host])
        #expect(answer.status == 421 && !answer.text.contains("admin"), "\(host)")
      }
      for path in ["/keys", "/signin", "/nothing", "/assets/x/none.js", "/console/api/v2/projects"]
      {
        let answer = try console.send("GET", path, ["Cookie": cookie])
        let policy = answer.headers["content-security-policy"] ?? ""
        #expect(policy.contains("frame-ancestors 'none'"), "\(path)")
        #expect(!policy.contains("unsafe"))
        #expect(answer.headers["x-frame-options"] == "DENY", "\(path)")
        #expect(answer.headers["x-content-type-options"] == "nosniff")
      }
    }
  }

  @Test func pagesHaveNoScriptOrStyleOfTheirOwn() async throws {
    try await ConsoleInstallation.with { console in
      let (cookie, token) = try console.signIn()
      let markup = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
      let name = String(
        decoding: try JSONSerialization.data(withJSONObject: ["project": ["name": markup]]),
        as: UTF8.self)
      let made = try console.send(
        "POST", "/console/api/v2/projects",
        ["Cookie": cookie, "Origin": console.origin, "X-Form-Token": token], body: name)
      #expect(made.status == 201, "\(made.text)")
      let project = try APICoding.decode(API.CreatedProject.self, from: Data(made.text.utf8))
      for page in [
        "", "/branches", "/sql", "/roles", "/backups", "/operations", "/monitoring", "/settings",
      ] {
        let path = "/projects/\(project.project.id)\(page)"
        let answer = try console.send("GET", path, ["Cookie": cookie])
        #expect(answer.status == 200, "\(path) \(answer.text.prefix(400))")
        #expect(!answer.text.contains("<img src=x") && !answer.text.contains("<script>"), "\(path)")
        #expect(!answer.text.contains(" style=") && !answer.text.contains(" onclick="), "\(path)")
      }
    }
  }
}
