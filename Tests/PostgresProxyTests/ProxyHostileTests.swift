import Foundation
import NIOCore
import PostgresProxy
import TestSupport
import Testing

@Suite(.backend, .serialized)
struct ProxyHostileTests {
  @Test func garbageIsAnsweredOrClosedAndHarmsNobody() async throws {
    try await withProxy {
      $0.handshakeTimeout = .seconds(2)
    } _: { proxy in
      var random = SplitMix(state: 7)
      for round in 0..<60 {
        let client = try await RawClient.connect(to: proxy.port)
        var bytes = (0..<300).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
        if round % 3 == 0 { bytes.replaceSubrange(0..<6, with: [0, 0, 0, 60, 0, 3]) }
        if round % 3 == 1 { bytes.replaceSubrange(0..<3, with: [0x16, 3, 1]) }
        // The proxy may have closed already.
        try? await client.send(bytes)
        if round % 2 == 0 { try? await client.close() }
      }
      try await proxy.expect("SELECT 1", gives: "1")
      try await eventually("all of them are gone") { proxy.proxy.connectionCount == 0 }
    }
  }

  @Test func silentClientIsCutOff() async throws {
    try await withProxy {
      $0.handshakeTimeout = .milliseconds(300)
    } _: { proxy in
      let silent = try await RawClient.connect(to: proxy.port)
      let halting = try await RawClient.connect(to: proxy.port)
      try await halting.send([0, 0, 0])
      #expect(try await silent.end() == "")
      #expect(try await halting.end() == "")
      try await proxy.expect("SELECT pg_sleep(0.6), 1", gives: "|1")
    }
  }

  @Test func connectionsAboveTheLimitAreToldSo() async throws {
    try await withProxy {
      $0.maximumConnections = 1
    } _: { proxy in
      let first = try await RawClient.connect(to: proxy.port)
      try await first.logIn()
      let second = try await proxy.psql("SELECT 1")
      #expect(second.errorOutput.contains("as many connections as it takes"))
      try await first.close()
      try await eventually("the place is free") { proxy.proxy.connectionCount == 0 }
      try await proxy.expect("SELECT 1", gives: "1")
    }
  }

  @Test func directTLSWorksWithPostgreSQLsProtocolOnly() async throws {
    try await withProxy { proxy in
      let server = "\(Backend.endpoint).\(RunningProxy.domain)"
      let right = try await RawClient.connect(
        to: proxy.port, tls: .init(applicationProtocols: ["postgresql"], serverName: server))
      try await right.logIn(byOption: false)
      try await right.close()
      let none = try await RawClient.connect(
        to: proxy.port, tls: .init(applicationProtocols: [], serverName: server))
      await #expect(throws: (any Error).self) { try await none.logIn(byOption: false) }
    }
  }

  @Test func unknownCancelKeyIsClosedWithoutAWord() async throws {
    try await withProxy { proxy in
      let client = try await RawClient.connect(to: proxy.port)
      try await client.send([0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2])
      #expect(try await client.end() == "")
    }
  }

  @Test func clientThatLeavesWhileItsComputeWakesLeavesNothing() async throws {
    try await withProxy { proxy in
      proxy.directory.change { $0.wakeDelay = .milliseconds(300) }
      let client = try await RawClient.connect(to: proxy.port)
      let login = Task { try await client.logIn() }
      try await eventually("waking") { proxy.directory.now.wakes == 1 }
      try await client.close()
      try await eventually("gone") { proxy.proxy.connectionCount == 0 }
      await #expect(throws: (any Error).self) { try await login.value }
      #expect(proxy.directory.now.opened == 0)
    }
  }
}
