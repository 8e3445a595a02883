import Foundation
import PostgresProxy
import TestSupport
import Testing

@Suite(.backend, .serialized)
struct ProxyLoginTests {
  @Test func strangersWakeNothingAndCannotTellWhatExists() async throws {
    try await withProxy { proxy in
      let wrong = try await proxy.psql("SELECT 1", environment: ["PGPASSWORD": "wrong"])
      let noEndpoint = try await proxy.psql(
        "SELECT 1", ["options": "endpoint=ep-no-such-12345678"])
      let noRole = try await proxy.psql("SELECT 1", ["user": "nobody"])
      let errors = [wrong, noEndpoint, noRole].map { result in
        result.errorOutput.replacing("nobody", with: "app")
      }
      #expect(Set(errors).count == 1, "\(errors)")
      #expect(errors[0].contains("password authentication failed for user \"app\""))
      #expect(proxy.directory.now.wakes == 0)
      #expect(proxy.directory.now.opened == 0)
    }
  }

  @Test func passwordsBeyondASCIIWork() async throws {
    try await withProxy { proxy in
      let settings = ["user": "other", "dbname": "postgres"]
      for password in ["pässwörd ½", "pässwörd\u{A0}1⁄2"] {
        try await proxy.expect(
          "SELECT current_user", gives: "other", settings, environment: ["PGPASSWORD": password])
      }
    }
  }

  @Test func channelBindingIsOfferedInsideTLS() async throws {
    try await withProxy { proxy in
      try await proxy.expect("SELECT 1", gives: "1", ["channel_binding": "require"])
      let plain = try await proxy.psql(
        "SELECT 1", ["channel_binding": "require"], environment: ["PGSSLMODE": "disable"])
      #expect(plain.errorOutput.contains("channel binding"))
    }
  }

  @Test func verifierIsThatOfPostgreSQL() async throws {
    let backend = try #require(Backend.current)
    for (role, password) in ["app": Backend.password, "other": "pässwörd ½"] {
      let text = try #require(backend.verifiers[role])
      let verifier = try #require(SCRAMVerifier(text))
      let made = SCRAMVerifier.make(
        password: password, salt: verifier.salt, iterations: verifier.iterations)
      #expect(made.description == text)
    }
    let server = backend.server
    let fresh = SCRAMVerifier.make(password: "new", iterations: 4_096)
    try server.psql("CREATE ROLE made LOGIN PASSWORD '\(fresh)'")
    let stored = try server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'made'")
    #expect(stored == fresh.description)
  }

  @Test func failuresAreLimitedBeforeTheRightPasswordIsHeard() async throws {
    try await withProxy {
      $0.failuresPerSource = FailureLimits(burst: 3, interval: .seconds(3_600))
    } _: { proxy in
      for _ in 0..<3 {
        let result = try await proxy.psql("SELECT 1", environment: ["PGPASSWORD": "wrong"])
        #expect(result.errorOutput.contains("password authentication failed"))
      }
      let right = try await proxy.psql("SELECT 1")
      #expect(right.errorOutput.contains("too many failed logins"))
    }
  }

  @Test func computeThatWakesSlowlyIsWaitedFor() async throws {
    try await withProxy { proxy in
      proxy.directory.change { $0.wakeDelay = .milliseconds(700) }
      try await proxy.expect("SELECT 5", gives: "5")
    }
  }

  @Test func socketThatAppearsLateIsWaitedFor() async throws {
    try await withProxy { proxy in
      let right = proxy.directory.now.socketPath
      proxy.directory.change { $0.socketPath = "/nowhere/.s.PGSQL.5432" }
      async let answer = proxy.query("SELECT 6")
      try await eventually("the proxy tries again") { proxy.directory.now.wakes > 2 }
      proxy.directory.change { $0.socketPath = right }
      #expect(try await answer == "6")
    }
  }

  @Test func computeThatNeverWakesEndsIn57P03() async throws {
    try await withProxy {
      $0.wakeTimeout = .milliseconds(300)
    } _: { proxy in
      proxy.directory.change { $0.wakeDelay = .seconds(60) }
      let result = try await proxy.psql("SELECT 1", environment: ["PGOPTIONS": ""])
      #expect(result.errorOutput.contains("did not start in time"))
      #expect(proxy.directory.now.opened == 0)
    }
  }

  @Test func refusalsOfTheDirectoryAreToldAfterTheProof() async throws {
    try await withProxy { proxy in
      proxy.directory.change {
        $0.refusal = ProxyRefusal(sqlState: "57P03", message: "the endpoint is disabled")
      }
      let right = try await proxy.psql("SELECT 1")
      #expect(right.errorOutput.contains("the endpoint is disabled"))
      let wrong = try await proxy.psql("SELECT 1", environment: ["PGPASSWORD": "x"])
      #expect(wrong.errorOutput.contains("password authentication failed"))
      #expect(proxy.directory.now.wakes == 0)
    }
  }

  @Test func errorsOfTheComputeArriveUnchanged() async throws {
    try await withProxy { proxy in
      let result = try await proxy.psql("SELECT 1", ["dbname": "missing"])
      #expect(result.errorOutput.contains("database \"missing\" does not exist"))
    }
  }

  @Test func passwordChangedOnTheComputeOnlyIsAClearError() async throws {
    try await withProxy { proxy in
      let other = SCRAMVerifier.make(password: "elsewhere").description
      proxy.directory.change { $0.verifiers["app"] = other }
      let result = try await proxy.psql("SELECT 1", environment: ["PGPASSWORD": "elsewhere"])
      #expect(result.errorOutput.contains("the compute holds another password"))
    }
  }

  @Test func replicationNeedsThePermission() async throws {
    try await withProxy { proxy in
      let settings = ["replication": "database"]
      let refused = try await proxy.psql("IDENTIFY_SYSTEM", settings)
      #expect(refused.errorOutput.contains("may not open replication connections"))
      proxy.directory.change { $0.allowsReplication = true }
      #expect(try await proxy.psql("IDENTIFY_SYSTEM", settings).status == 0)
      try await eventually("counted as replication") { proxy.directory.bytes(.replication) > 0 }
    }
  }
}
