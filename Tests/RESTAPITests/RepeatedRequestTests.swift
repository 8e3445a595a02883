import APITypes
import Foundation
import Synchronization
import Testing

@testable import Catalog
@testable import RESTAPI

/// Holds a thread until it is opened, twenty seconds at most.
private final class Gate: Sendable {
  private let state = Mutex((isHeld: false, isOpen: false))
  private let deadline = ContinuousClock.now + .seconds(20)

  var isLate: Bool { ContinuousClock.now > deadline }
  var isHeld: Bool { state.withLock { $0.isHeld } }
  func open() { state.withLock { $0.isOpen = true } }

  func hold() {
    state.withLock { $0.isHeld = true }
    while !state.withLock({ $0.isOpen }), !isLate { Thread.sleep(forTimeInterval: 0.01) }
  }
}

/// Requests with an `Idempotency-Key` are done once, whatever happens to their answers.
@Suite(.serialized) struct RepeatedRequestTests {
  private static let path = "/api/v2/projects"
  private static let body = #"{"project":{"name":"once"}}"#

  private func send(_ api: APIInstallation, _ key: String) async throws -> APIInstallation.Answer {
    try await api.send("POST", Self.path, Self.body, headers: ["Idempotency-Key": key])
  }

  private func projects(_ api: APIInstallation) async throws -> Int? {
    (try await api.send("GET", Self.path).object["projects"] as? [Any])?.count
  }

  private func claim(_ api: APIInstallation, _ key: String) async throws -> IdempotencyRecord {
    let caller = try #require(try await api.plane.accounts.authenticate(api.key, from: ""))
    return IdempotencyRecord(
      accountID: caller.account.id, method: "POST", path: Self.path, key: key,
      bodyHash: APIResponder.hash(query: "", body: Data(Self.body.utf8)), createdAt: api.plane.now)
  }

  @Test func aRequestThatServeDiedInAfterItsEffectIsNotDoneAgain() async throws {
    try await APIInstallation.with { api in
      let claim = try await claim(api, "died")
      #expect(try await api.plane.catalog.write { try $0.claim(claim) } == nil)
      _ = try await api.plane.catalog.noting(claim) {
        try await api.plane.projects.create(
          API.NewProject(name: "once"), account: claim.accountID)
      }
      // The next serve's start.
      try await api.plane.releaseRequests()
      for _ in 0..<2 {
        let again = try await send(api, "died")
        #expect(again.status == 409 && again.code == "idempotency_answer_lost", "\(again)")
      }
      #expect(try await projects(api) == 1)
      #expect(try await send(api, "new").status == 201)
    }
  }

  @Test func anAnswerThatCannotBeKeptIsGivenAndItsRequestNotDoneAgain() async throws {
    try await APIInstallation.with { api in
      try await api.plane.catalog.unjournaled("prepare the test") {
        _ = try $0.execute(
          """
          CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            RAISE 'no room' USING ERRCODE = '53100';
          END$$;
          CREATE TRIGGER no_room BEFORE UPDATE ON exzo.idempotency_keys FOR EACH ROW
            WHEN (NEW.sealed_answer IS NOT NULL) EXECUTE FUNCTION public.no_room();
          """)
      }
      let first = try await send(api, "k")
      #expect(first.status == 201, "\(first.text("message"))")
      let again = try await send(api, "k")
      #expect(again.status == 409 && again.code == "idempotency_answer_lost", "\(again)")
      #expect(try await projects(api) == 1)
    }
  }

  /// A claim's age says nothing of whether its request is at work.
  @Test func aRequestThatTakesLongKeepsItsKey() async throws {
    try await APIInstallation.with { api in
      var aged = try await claim(api, "slow")
      aged.createdAt = api.plane.now.addingTimeInterval(-3600)
      let (old, catalog) = (aged, api.plane.catalog)
      let gate = Gate()
      // New projects wait for their account's row.
      let holder = Task {
        try await catalog.write { tx in
          _ = try tx.lockAccount(old.accountID)
          gate.hold()
        }
      }
      while !gate.isHeld, !gate.isLate { try await Task.sleep(for: .milliseconds(10)) }
      async let first = send(api, "slow")
      while !gate.isLate {
        do {
          try await catalog.write { try $0.update(old) }
          break
        } catch let error as CatalogError where error.code == .missing {
          try await Task.sleep(for: .milliseconds(20))
        }
      }
      let again = try await send(api, "slow")
      #expect(again.status == 423, "\(again)")
      gate.open()
      try await holder.value
      #expect(try await first.status == 201)
      #expect(try await projects(api) == 1)
    }
  }
}
