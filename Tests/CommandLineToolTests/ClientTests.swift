import APITypes
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import APIClient
@testable import CommandLineTool

/// A server that answers from a script; status 0 is none at all.
private final class ScriptedTransport: APITransport {
  private let answers: Mutex<[APIResponse]>
  private let sent = Mutex<[String]>([])

  init(_ answers: [(Int, String)]) {
    self.answers = Mutex(answers.map { APIResponse(status: $0.0, body: Data($0.1.utf8)) })
  }

  var requests: [String] { sent.withLock { $0 } }

  func send(
    _ request: APIRequest, to base: String, key: String?
  ) async throws -> APIResponse {
    sent.withLock { $0.append("\(request.method.rawValue) \(request.target)") }
    let answer = answers.withLock {
      $0.isEmpty ? APIResponse(status: 599, body: Data()) : $0.removeFirst()
    }
    guard answer.status == 0 else { return answer }
    let isRefused = answer.body == Data("refused".utf8)
    throw APIClientError(
      code: isRefused ? APIClientError.refused : "server_unreachable", message: "away")
  }
}

/// A server that cuts each download off after some bytes, and cannot read on at `damage`.
private final class CuttingTransport: APITransport {
  private let content: Data
  private let damage: Int
  private let starts = Mutex<[Int]>([])
  private let taken = Mutex(Data())

  init(_ content: Data, damage: Int) {
    self.content = content
    self.damage = damage
  }

  var tries: [Int] { starts.withLock { $0 } }
  var came: Data { taken.withLock { $0 } }
  @Sendable func take(_ piece: Data) { taken.withLock { $0.append(piece) } }

  func send(
    _ request: APIRequest, to base: String, key: String?
  ) async throws -> APIResponse { APIResponse(status: 599, body: Data()) }

  func download(
    _ request: APIRequest, to base: String, key: String?, from offset: Int,
    _ take: @escaping @Sendable (Data) throws -> Void
  ) async throws -> APIResponse? {
    starts.withLock { $0.append(offset) }
    if offset == damage {
      return APIResponse(status: 500, body: Data(#"{"code":"x","message":"it is damaged"}"#.utf8))
    }
    let end = min(offset + 40, damage, content.count)
    if end > offset { try take(content[offset..<end]) }
    if end == content.count { return nil }
    throw APIClientError(code: APIClientError.downloadCut, message: "cut off")
  }
}

@Suite struct ClientTests {
  @Test func aDownloadThatIsCutOffGoesOnUntilTheServerSaysWhy() async throws {
    let content = Data((0..<100).map { UInt8($0) })
    for (damage, tries) in [(Int.max, [10, 50, 90]), (75, [10, 50, 75]), (10, [10])] {
      let transport = CuttingTransport(content, damage: damage)
      let client = APIClient(
        server: "http://server", key: "k", transport: transport, pause: { _ in })
      var failure: APIClientError?
      do {
        try await client.download(APIRequest(.get, ["x"]), from: 10, transport.take)
      } catch let error as APIClientError { failure = error }
      #expect(transport.came == content[10..<min(damage, 100)])
      #expect(transport.tries == tries)
      #expect(failure?.message == (damage < 100 ? "it is damaged" : nil))
    }
  }

  private func client(_ transport: ScriptedTransport) -> APIClient {
    APIClient(server: "http://server", key: "k", transport: transport, pause: { _ in })
  }

  private func operation(_ status: String, error: String = "") -> String {
    #"{"id":"o1","project_id":"p","action":"create_branch","status":"\#(status)","#
      + (error.isEmpty ? "" : #""error":"\#(error)","#)
      + #""failures_count":0,"created_at":"2026-11-23T10:00:00Z","#
      + #""updated_at":"2026-11-23T10:00:00Z","total_duration_ms":5}"#
  }

  @Test func targetsAreEscaped() {
    let request = APIRequest(.get, ["projects", "a/../b c"], query: [("q", "x&y=1+2")])
    #expect(request.target == "/projects/a%2F..%2Fb%20c?q=x%26y%3D1%2B2")
  }

  @Test func conflictIsTriedAgainAndNothingElseIs() async throws {
    let transport = ScriptedTransport([
      (423, "{}"), (429, "{}"), (200, #"{"operation":\#(operation("finished"))}"#),
    ])
    _ = try await client(transport).send(APIRequest(.post, ["x"]), as: API.OperationResponse.self)
    #expect(transport.requests.count == 3)
    let failing = ScriptedTransport([(500, #"{"code":"internal","message":"it broke"}"#)])
    await #expect(throws: APIClientError(status: 500, code: "internal", message: "it broke")) {
      _ = try await client(failing).send(APIRequest(.get, ["x"]), as: API.OperationResponse.self)
    }
    #expect(failing.requests.count == 1)
  }

  /// Whoever was told that nobody listens has sent nothing; whoever was cut off may have.
  @Test func aServerThatIsStartedAnewIsWaitedForAndOneThatIsAwayIsNot() async throws {
    let finished = (200, #"{"operation":\#(operation("finished"))}"#)
    let restarting = ScriptedTransport(Array(repeating: (0, "refused"), count: 5) + [finished])
    _ = try await client(restarting).send(APIRequest(.post, ["x"]), as: API.OperationResponse.self)
    #expect(restarting.requests.count == 6)
    for (word, count) in [("refused", 26), ("cut", 1)] {
      let away = ScriptedTransport(Array(repeating: (0, word), count: 50))
      await #expect(throws: APIClientError.self) {
        _ = try await client(away).send(APIRequest(.get, ["x"]), as: API.OperationResponse.self)
      }
      #expect(away.requests.count == count, "\(word)")
    }
  }

  @Test func aPortWhereNobodyListensRefuses() async throws {
    let base = "http://127.0.0.1:\(try unusedPort())"
    await #expect {
      _ = try await HTTPTransport().send(APIRequest(.get, ["x"]), to: base, key: nil)
    } throws: { error in
      (error as? APIClientError)?.code == APIClientError.refused
    }
  }

  @Test func databasesThatAreGoneTodayAreReachedAtAMoment() async throws {
    let databases =
      #"{"databases":[{"id":1,"branch_id":"br-a","name":"app","owner_name":"me","#
      + #""created_at":"2026-11-23T10:00:00Z","updated_at":"2026-11-23T10:00:00Z"}]}"#
    let branch = try APICoding.decode(API.Branch.self, from: Data(Self.branch.utf8))
    func request(
      _ database: String?, _ moment: MomentReference.Moment?
    ) async throws -> String? {
      let transport = ScriptedTransport([(200, databases), (200, #"{"uri":"postgresql://"}"#)])
      _ = try await ResourceLookup(client: client(transport)).connectionURI(
        branch: branch, project: "p", database: database, role: nil, isPooled: false,
        moment: moment)
      return transport.requests.last
    }
    let past = try await request("gone", .lsn("0/1"))
    #expect(past?.contains("database_name=gone&role_name=me") == true, "\(past ?? "")")
    #expect(try await request(nil, .lsn("0/1"))?.contains("database_name=app") == true)
    await #expect(throws: CommandError.self) { _ = try await request("gone", nil) }
  }

  private static let branch =
    #"{"id":"br-a","project_id":"p","name":"main","current_state":"ready","#
    + #""state_changed_at":"2026-11-23T10:00:00Z","creation_source":"console","default":true,"#
    + #""protected":false,"cpu_used_sec":0,"compute_time_seconds":0,"active_time_seconds":0,"#
    + #""written_data_bytes":0,"data_transfer_bytes":0,"created_at":"2026-11-23T10:00:00Z","#
    + #""updated_at":"2026-11-23T10:00:00Z"}"#

  @Test func retriesAreBounded() async throws {
    let transport = ScriptedTransport(Array(repeating: (423, "{}"), count: 50))
    await #expect(throws: APIClientError.self) {
      _ = try await client(transport).send(APIRequest(.post, ["x"]), as: API.OperationResponse.self)
    }
    #expect(transport.requests.count == APIClient.attempts)
  }

  @Test func answersOfAnotherKindAreClearErrors() async throws {
    for (status, body) in [(200, "<html>"), (404, "<html>"), (401, "{}")] {
      let transport = ScriptedTransport([(status, body)])
      await #expect(throws: APIClientError.self) {
        _ = try await client(transport).send(
          APIRequest(.get, ["x"]), as: API.OperationResponse.self)
      }
    }
  }

  @Test func waiterPollsToTheEndAndTellsEachChangeOnce() async throws {
    let transport = ScriptedTransport(
      ["running", "running", "finished"].map { (200, #"{"operation":\#(operation($0))}"#) })
    let lines = Mutex<[String]>([])
    let first = try APICoding.decode(
      API.Operation.self, from: Data(operation("scheduling").utf8))
    let waiter = OperationWaiter(
      client: client(transport), progress: { line in lines.withLock { $0.append(line) } },
      pause: { _ in })
    try await waiter.wait(for: [first])
    #expect(
      lines.withLock { $0 } == [
        "create_branch: scheduling", "create_branch: running", "create_branch: finished",
      ])
    #expect(transport.requests == Array(repeating: "GET /projects/p/operations/o1", count: 3))
  }

  @Test func failedOperationIsAnErrorWithItsReason() async throws {
    let failed = try APICoding.decode(
      API.Operation.self, from: Data(operation("failed", error: "disk full").utf8))
    let waiter = OperationWaiter(client: client(ScriptedTransport([])), progress: { _ in })
    await #expect {
      try await waiter.wait(for: [failed])
    } throws: { error in
      (error as? CommandError)?.message.contains("failed: disk full") == true
    }
  }

  @Test func projectIsChosenOnlyWhenThereIsNoChoice() async throws {
    let none = ResourceLookup(
      client: client(
        ScriptedTransport([(200, #"{"projects":[],"applications":{},"integrations":{}}"#)])))
    #expect(try await none.project(given: "a", saved: "b") == "a")
    #expect(try await none.project(given: nil, saved: "b") == "b")
    await #expect(throws: CommandError.self) { _ = try await none.project(given: nil, saved: nil) }
  }
}
