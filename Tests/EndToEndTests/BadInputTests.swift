import Foundation
import TestSupport
import Testing

/// Requests that cannot be met: each answer says what was asked, why it cannot be, what to do.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct BadInputTests {
  @Test func momentsThatCannotBeOpenedNameTheMomentAndTheWindow() async throws {
    try await withPlatform { platform in
      let project = try await platform.project("strict")
      try await Task.sleep(for: .seconds(1))
      let cases: [(moment: String, code: String, words: [String])] = [
        (
          #""parent_timestamp":"2001-01-01T00:00:00Z""#, "restore_point_out_of_window",
          ["2001-01-01T00:00:00Z", " to ", "'main'"]
        ),
        (
          #""parent_timestamp":"2999-01-01T00:00:00Z""#, "restore_point_out_of_window",
          ["2999-01-01T00:00:00Z", " to "]
        ),
        (#""parent_lsn":"0/1""#, "restore_point_out_of_window", ["0/1", "LSN", " to "]),
        (#""parent_lsn":"FFFF/0""#, "restore_point_out_of_window", ["FFFF/0", "LSN", " to "]),
        (#""parent_timestamp":"yesterday""#, "", ["parent_timestamp", "yesterday"]),
        (#""parent_lsn":"nonsense""#, "", ["parent_lsn", "nonsense"]),
        (
          #""parent_lsn":"0/2000000","parent_timestamp":"2026-01-01T00:00:00Z""#, "",
          ["parent_lsn", "parent_timestamp"]
        ),
        (#""parent_id":"br-no-such-00000000""#, "", ["br-no-such-00000000"]),
      ]
      for (moment, code, words) in cases {
        let answer = try platform.call(
          "POST", "/projects/\(project)/branches", #"{"branch":{\#(moment)}}"#)
        let expected = moment.contains("parent_id") ? 404 : 400
        #expect(answer.status == expected, "\(moment): \(answer.status) \(answer.text)")
        #expect(code.isEmpty || answer.string("code") == code, "\(moment): \(answer.text)")
        #expect(!answer.string("code").isEmpty && !answer.string("request_id").isEmpty)
        for word in words {
          #expect(answer.string("message").contains(word), "\(moment): \(word): \(answer.text)")
        }
      }
      // Nothing of it stayed.
      let branches = try platform.call("GET", "/projects/\(project)/branches")
      #expect((branches["branches"] as? [Any])?.count == 1, "\(branches.text)")
    }
  }

  /// A moment of a branch from before the branch began belongs to its parent.
  @Test func momentsBeforeABranchBeganAreOutOfItsWindow() async throws {
    try await withPlatform { platform in
      let project = try await platform.project("young")
      let created = try platform.call(
        "POST", "/projects/\(project)/branches",
        #"{"branch":{"name":"dev"},"endpoints":[{"type":"read_write"}]}"#)
      try await platform.settle(project)
      let branch = created.string("branch.id")
      let answer = try platform.call(
        "POST", "/projects/\(project)/branches",
        #"{"branch":{"parent_id":"\#(branch)","parent_lsn":"0/1000028"}}"#)
      #expect(answer.status == 400, "\(answer.text)")
      #expect(answer.string("code") == "restore_point_out_of_window")
      #expect(answer.string("message").contains("'dev'"), "\(answer.text)")
    }
  }

  @Test func unknownIdsAreNotFoundByName() async throws {
    try await withPlatform { platform in
      let project = try await platform.project("known")
      let branch = "br-no-such-00000000"
      let endpoint = "ep-no-such-00000000"
      let operation = "00000000-0000-4000-8000-000000000000"
      let cases: [(method: String, path: String, id: String)] = [
        ("GET", "/projects/no-such-00000000", "no-such-00000000"),
        ("DELETE", "/projects/no-such-00000000", "no-such-00000000"),
        ("GET", "/projects/no-such-00000000/branches", "no-such-00000000"),
        ("GET", "/projects/\(project)/branches/\(branch)", branch),
        ("DELETE", "/projects/\(project)/branches/\(branch)", branch),
        ("GET", "/projects/\(project)/endpoints/\(endpoint)", endpoint),
        ("POST", "/projects/\(project)/endpoints/\(endpoint)/start", endpoint),
        ("GET", "/projects/\(project)/operations/\(operation)", operation),
      ]
      for (method, path, id) in cases {
        let answer = try platform.call(method, path)
        #expect(answer.status == 404, "\(method) \(path): \(answer.status) \(answer.text)")
        #expect(answer.string("message").contains(id), "\(method) \(path): \(answer.text)")
      }
      for (body, word) in [("{", "JSON"), (#"{"branch":{"name":7}}"#, "name")] {
        let answer = try platform.call("POST", "/projects/\(project)/branches", body)
        #expect(answer.status == 400, "\(body): \(answer.status) \(answer.text)")
        #expect(answer.string("message").contains(word), "\(body): \(answer.text)")
      }
      #expect(try platform.call("GET", "/projects", key: "wrong").status == 401)
    }
  }

  @Test func theCommandLineSaysTheSameAndTellsUsageFromFailure() async throws {
    try await withPlatform { platform in
      let project = try await platform.project("shell")
      let cases: [(arguments: [String], status: Int32, words: [String])] = [
        (["branches", "create", "--parent", "main@yesterday"], 2, ["yesterday", "0/1A2B3C"]),
        (
          ["branches", "create", "--parent", "main@2999-01-01T00:00:00Z"], 1,
          ["2999-01-01T00:00:00Z", " to "]
        ),
        (["branches", "create", "--parent", "main@FFFF/0"], 1, ["FFFF/0", " to "]),
        (["branches", "get", "nothing"], 1, ["'nothing'", "exzo branches list"]),
        (["branches", "get", "--project-id", "no-such-00000000"], 1, ["no-such-00000000"]),
        (["operations", "get", "nonsense"], 1, ["nonsense"]),
        (["branches", "frobnicate"], 2, ["frobnicate"]),
      ]
      for (arguments, status, words) in cases {
        let result = try platform.exzo(arguments, status: nil)
        #expect(result.status == status, "\(arguments): \(result)")
        for word in words { #expect(result.errorOutput.contains(word), "\(arguments): \(result)") }
      }
      try platform.exzo(["branches", "get", "main"])
      try platform.kill()
      let down = try platform.exzo(["branches", "list", "--project-id", project], status: 1)
      #expect(down.errorOutput.contains(platform.url("")), "\(down)")
      #expect(down.errorOutput.contains("exzo serve"), "\(down)")
      try await platform.start()
    }
  }
}

extension Platform {
  /// Makes a project and waits until it is ready; returns its id.
  func project(_ name: String) async throws -> String {
    let created = try call("POST", "/projects", #"{"project":{"name":"\#(name)"}}"#)
    #expect(created.status == 201, "\(created.text)")
    let project = created.string("project.id")
    try await settle(project)
    return project
  }
}
