import Foundation
import TestSupport
import Testing

@testable import RESTAPI

/// Conventions of the API that hold for every object: deleting twice, names, refusals.
@Suite(.serialized) struct ConventionTests {
  /// A project to act on.
  private struct Scene {
    let api: APIInstallation
    let project: String
    let branch: String

    init(_ api: APIInstallation) async throws {
      self.api = api
      let made = try await api.send("POST", "/api/v2/projects", #"{"project":{"name":"rules"}}"#)
      project = "/api/v2/projects/\(made.text("project", "id"))"
      branch = "\(project)/branches/\(made.text("branch", "id"))"
      try await settle(made)
    }

    /// A call, and the end of what it started.
    @discardableResult
    func call(
      _ method: String, _ path: String, _ body: String? = nil, status: Int = 200
    ) async throws -> APIInstallation.Answer {
      let answer = try await api.send(method, path, body)
      let text = String(decoding: answer.data, as: UTF8.self)
      #expect(answer.status == status, "\(method) \(path) \(body ?? ""): \(text)")
      try await settle(answer)
      return answer
    }

    private func settle(_ answer: APIInstallation.Answer) async throws {
      for operation in answer.object["operations"] as? [[String: Any]] ?? [] {
        let path = "\(project)/operations/\(operation["id"] as? String ?? "")"
        for _ in 0..<400 {
          let state = try await api.send("GET", path).text("operation", "status")
          if state == "finished" { break }
          #expect(["scheduling", "running"].contains(state))
          try await Task.sleep(for: .milliseconds(25))
        }
      }
    }
  }

  private func operations(_ answer: APIInstallation.Answer) -> Int {
    (answer.object["operations"] as? [Any])?.count ?? -1
  }

  @Test func deletingWhatIsDeletedAnswersAsTheFirstTime() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let (role, database) = ("\(scene.branch)/roles/r", "\(scene.branch)/databases/d")
      for path in [role, database] { try await scene.call("DELETE", path, status: 404) }
      // Twice, since what is made anew under an old name lives.
      for _ in 0..<2 {
        try await scene.call(
          "POST", "\(scene.branch)/roles", #"{"role":{"name":"r"}}"#, status: 201)
        try await scene.call(
          "POST", "\(scene.branch)/databases",
          #"{"database":{"name":"d","owner_name":"exzodb_owner"}}"#, status: 201)
        for (path, object) in [(role, "role"), (database, "database")] {
          let first = try await scene.call("DELETE", path)
          #expect(operations(first) == 1)
          let second = try await scene.call("DELETE", path)
          #expect(operations(second) == 0)
          for field in ["name", "branch_id", "created_at", "owner_name"] {
            #expect(second.text(object, field) == first.text(object, field))
          }
          try await scene.call("GET", path, status: 404)
        }
      }
      let snapshot = try await scene.call("POST", "\(scene.branch)/snapshot?name=s")
      let path = "\(scene.project)/snapshots/\(snapshot.text("snapshot", "id"))"
      for _ in 0..<2 { try await scene.call("DELETE", path, status: 202) }
      let key = try await scene.call("POST", "/api/v2/api_keys", #"{"key_name":"k"}"#)
      let id = try #require(key.object["id"] as? Int)
      for _ in 0..<2 { try await scene.call("DELETE", "/api/v2/api_keys/\(id)") }
      let grant = try await scene.call(
        "POST", "\(scene.project)/permissions", #"{"email":"a@example.com"}"#)
      for _ in 0..<2 {
        try await scene.call("DELETE", "\(scene.project)/permissions/\(grant.text("id"))")
      }
    }
  }

  /// What was deleted stays known when what held it is deleted as well, and what went with it counts as deleted.
  @Test func deletingWhatIsGoneWithItsParentAnswersAsTheFirstTime() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let made = try await scene.call(
        "POST", "\(scene.project)/branches", #"{"endpoints":[{"type":"read_write"}]}"#, status: 201)
      let branch = "\(scene.project)/branches/\(made.text("branch", "id"))"
      let endpoint = "\(scene.project)/endpoints/\(made.text("endpoints", "0", "id"))"
      let taken = try await scene.call("POST", "\(scene.branch)/snapshot?name=s")
      let snapshot = "\(scene.project)/snapshots/\(taken.text("snapshot", "id"))"
      let grant = try await scene.call(
        "POST", "\(scene.project)/permissions", #"{"email":"a@example.com"}"#)
      try await scene.call("POST", "\(branch)/roles", #"{"role":{"name":"r"}}"#, status: 201)
      try await scene.call("DELETE", "\(branch)/roles/r")
      let tenants = ["roles/r", "roles/exzodb_owner", "databases/exzodb"].map { "\(branch)/\($0)" }
      func expectGone(_ paths: [String]) async throws {
        for path in paths {
          let again = try await scene.call("DELETE", path, status: path == snapshot ? 202 : 200)
          #expect(operations(again) == 0, "\(path)")
        }
        for path in ["\(branch)/roles/never", "\(branch)/databases/never"] {
          try await scene.call("DELETE", path, status: 404)
        }
      }
      try await scene.call("DELETE", branch)
      try await expectGone(tenants + [endpoint, branch])
      try await scene.call("DELETE", scene.project)
      try await expectGone(tenants + [endpoint, branch, scene.branch, snapshot])
      try await scene.call("DELETE", "\(scene.project)/permissions/\(grant.text("id"))")
      for path in ["endpoints/ep-x", "snapshots/snap-x", "branches/br-x", "branches/br-x/roles/r"] {
        try await scene.call("DELETE", "\(scene.project)/\(path)", status: 404)
      }
    }
  }

  @Test func aDeletedProjectsOperationCanBeFollowed() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let first = try await scene.call("DELETE", scene.project)
      #expect(first.text("operations", "0", "kind") == "delete_project")
      let second = try await scene.call("DELETE", scene.project)
      #expect(operations(second) == 0)
      #expect(second.text("project", "id") == first.text("project", "id"))
    }
  }

  @Test func a401SaysHowToAuthenticate() async throws {
    try await APIInstallation.with { api in
      for key in ["", "exzo_wrong"] {
        let answer = try await api.send("GET", "/api/v2/projects", key: key)
        #expect(answer.status == 401)
        #expect(answer.headers["WWW-Authenticate"] as? String == #"Bearer realm="exzo""#)
      }
      #expect(try await api.send("GET", "/api/v2/projects").headers["WWW-Authenticate"] == nil)
    }
  }

  @Test func namesWithControlCharactersAreRefusedAndTheFieldNamed() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let snapshot = try await scene.call("POST", "\(scene.branch)/snapshot?name=s")
      let snapshotPath = "\(scene.project)/snapshots/\(snapshot.text("snapshot", "id"))"
      let cases = [
        ("POST", "/api/v2/projects", "project.name"),
        ("PATCH", scene.project, "project.name"),
        ("POST", "\(scene.project)/branches", "branch.name"),
        ("PATCH", scene.branch, "branch.name"),
        ("POST", "\(scene.branch)/roles", "role.name"),
        ("POST", "\(scene.branch)/databases", "database.name"),
        ("PATCH", snapshotPath, "snapshot.name"),
        ("POST", "/api/v2/api_keys", "key_name"),
        ("POST", "/api/v2/accounts", "account.name"),
      ]
      for (method, path, field) in cases {
        for escape in [#"\u0000"#, #"\u0007"#, #"\n"#, #"\u007f"#, #"\u0085"#, #"\u2028"#] {
          let answer = try await scene.call(
            method, path, Self.body(field, "a\(escape)b"), status: 400)
          #expect(
            answer.text("message").contains("'\(field)'"), "\(field): \(answer.text("message"))")
        }
      }
      let named = try await scene.call(
        "POST", "\(scene.branch)/snapshot?name=a%0Ab", status: 400)
      #expect(named.text("message").contains("'name'"))
    }
  }

  /// `{"a":{"b":"value"}}` for `a.b`, with what the routes require beside it.
  private static func body(_ field: String, _ value: String) -> String {
    let parts = field.split(separator: ".")
    guard parts.count == 2 else { return #"{"\#(field)":"\#(value)"}"# }
    let others = [
      "database": #","owner_name":"exzodb_owner""#, "account": #","email":"a@example.com""#,
    ]
    return #"{"\#(parts[0])":{"\#(parts[1])":"\#(value)"\#(others[String(parts[0])] ?? "")}}"#
  }

  @Test func aSnapshotsNameMeansOneOfItsBranch() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let first = try await scene.call("POST", "\(scene.branch)/snapshot?name=release")
      let refused = try await scene.call(
        "POST", "\(scene.branch)/snapshot?name=release", status: 409)
      #expect(refused.code == "snapshot_already_exists")
      #expect(refused.text("message").contains(first.text("snapshot", "id")))
      let other = try await scene.call("POST", "\(scene.branch)/snapshot?name=other")
      let path = "\(scene.project)/snapshots/\(other.text("snapshot", "id"))"
      let rename = #"{"snapshot":{"name":"release"}}"#
      try await scene.call("PATCH", path, rename, status: 409)
      try await scene.call("PATCH", path, #"{"snapshot":{"name":"other"}}"#)
      try await scene.call(
        "DELETE", "\(scene.project)/snapshots/\(first.text("snapshot", "id"))", status: 202)
      try await scene.call("PATCH", path, rename)
      // Without a name each gets one; another branch has names of its own.
      for _ in 0..<2 { try await scene.call("POST", "\(scene.branch)/snapshot") }
      let child = try await scene.call("POST", "\(scene.project)/branches", status: 201)
      try await scene.call(
        "POST", "\(scene.project)/branches/\(child.text("branch", "id"))/snapshot?name=release")
    }
  }

  @Test func whatCannotBeHonouredIsRefused() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let settings = #"{"project":{"settings":{"enable_logical_replication":true}}}"#
      for (method, path) in [("POST", "/api/v2/projects"), ("PATCH", scene.project)] {
        let answer = try await scene.call(method, path, settings, status: 400)
        #expect(answer.code == "setting_not_supported")
        #expect(answer.text("message").contains("enable_logical_replication"))
      }
      try await scene.call("PATCH", scene.project, settings.replacing("true", with: "false"))
    }
  }

  @Test func fiftyAnnotationsAreTakenAndMoreRefusedByTheirField() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      for (count, status) in [(50, 201), (51, 400)] {
        let entries = (0..<count).map { "\"k\($0)\":\"v\"" }.joined(separator: ",")
        for (path, body, field) in [
          ("\(scene.project)/branches", "{\"annotation_value\":{\(entries)}}", "annotation_value"),
          (
            "/api/v2/projects", "{\"project\":{\"branch\":{\"annotations\":{\(entries)}}}}",
            "project.branch.annotations"
          ),
        ] {
          let answer = try await api.send("POST", path, body)
          #expect(answer.status == status, "\(field) of \(count): \(answer.text("message"))")
          if status == 400 { #expect(answer.text("message").contains("'\(field)'")) }
        }
      }
    }
  }

  /// A body would be taken for the beginning of the next answer.
  @Test func headIsAnsweredAsGetAndWithoutABody() async throws {
    try await APIInstallation.with { api in
      for path in ["/api/v2/projects", "/api/v2/projects/none", "/healthz"] {
        let fields = "Host: localhost\r\nAuthorization: Bearer \(api.key)\r\n"
        let requests =
          "HEAD \(path) HTTP/1.1\r\n\(fields)\r\n"
          + "GET \(path) HTTP/1.1\r\n\(fields)Connection: close\r\n\r\n"
        let bytes = try await onThread {
          let connection = try TCPConnection(port: api.port)
          connection.write(Array(requests.utf8))
          var bytes: [UInt8] = []
          while case let more = connection.read(), !more.isEmpty { bytes += more }
          return bytes
        }
        let parts = String(decoding: bytes, as: UTF8.self).components(separatedBy: "\r\n\r\n")
        try #require(parts.count == 3, "\(path): \(parts)")
        let heads = parts.prefix(2).map { part in
          part.components(separatedBy: "\r\n").filter {
            let line = $0.lowercased()
            return line.hasPrefix("http/") || line.hasPrefix("content-")
          }
        }
        #expect(heads[0] == heads[1], "\(path): \(heads)")
        #expect(
          heads[0].contains { $0.lowercased() == "content-length: \(parts[2].utf8.count)" },
          "\(path): \(heads)")
      }
      let refused = try await api.send("PUT", "/api/v2/projects")
      #expect(refused.status == 405)
      let allowed = refused.headers.first { "\($0.key)".lowercased() == "allow" }?.value as? String
      #expect(allowed?.contains("GET, HEAD") == true, "\(refused.headers)")
    }
  }

  /// The field, the value and the range, also of a number that Foundation cannot read as the one that is wanted.
  @Test func aNumberThatIsNoWholeOneIsRefusedByItsField() async throws {
    try await APIInstallation.with { api in
      let scene = try await Scene(api)
      let item = #"{"frequency":"daily","hour":3.5}"#
      for (method, path, body, message) in [
        (
          "PUT", "\(scene.branch)/backup_schedule", #"{"schedule":[\#(item)]}"#,
          "'schedule[0].hour' is 3.5, must be a whole number from 0 to 23"
        ),
        (
          "POST", "\(scene.branch)/backup_schedule/items", item,
          "'hour' is 3.5, must be a whole number from 0 to 23"
        ),
        (
          "POST", "\(scene.project)/dumps",
          #"{"branches":"all","databases":"all","jobs":1.5}"#,
          "'jobs' is 1.5, must be a whole number"
        ),
      ] {
        let answer = try await scene.call(method, path, body, status: 400)
        #expect(answer.code == "bad_value" && answer.text("message") == message)
      }
    }
  }
}
