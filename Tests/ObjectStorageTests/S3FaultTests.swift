import Foundation
import ObjectStorage
import TestSupport
import Testing

/// What a store does when the way to the server, or the server, is bad.
@Suite(.needsObjectServer) struct S3FaultTests {
  private let key = ObjectKey("fault/object")
  private let content = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 >> 8) }

  /// Faults that leave no right answer. (What follows a whole answer does not.)
  static let lasting = passing.filter { if case .longBody = $0 { false } else { true } }

  /// Faults that hit the first two tries of each request.
  static let passing: [FaultProxy.Fault] = [
    .status(500), .status(503), .status(429), .status(404), .resetBefore, .resetAfter, .cutBody(0),
    .cutBody(1000),
    .halfBody, .halfRange, .longBody, .garbage, .slow(3_000), .errorInBody,
  ]

  @Test(arguments: passing.indices) func passingFaultsAreOutlived(index: Int) async throws {
    try await withObjectServer { server, _ in
      let fault = Self.passing[index]
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      let store = try s3Store(server.url(port: proxy.port), server)
      let strikes: FaultProxy.Rule = { $0.number <= 2 ? fault : nil }
      proxy.setRule(strikes)
      try await store.put(key, .bytes(content))
      proxy.setRule(strikes)
      #expect(try await store.get(key, range: nil) == content)
      proxy.setRule(strikes)
      #expect(
        try await store.get(key, range: 100_000..<150_000) == Array(content[100_000..<150_000]))
      proxy.setRule(strikes)
      #expect(try await store.size(key) == 200_000)
      proxy.setRule(strikes)
      #expect(try await store.list(prefix: "fault/", after: nil, limit: 9).map(\.key) == [key])
      proxy.setRule(strikes)
      try await store.delete([key])
      proxy.setRule(strikes)
      try await store.delete(key)
      proxy.setRule(nil)
      #expect(try await store.size(key) == nil)
    }
  }

  @Test(arguments: lasting.indices) func lastingFaultsAreTypedErrors(index: Int) async throws {
    try await withObjectServer { server, _ in
      let fault = Self.lasting[index]
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      let direct = try s3Store(server.url(), server)
      try await direct.put(key, .bytes(content))
      var policy = quick
      policy.timeout = .milliseconds(400)
      let store = try s3Store(server.url(port: proxy.port), server, policy: policy)
      proxy.setRule { _ in fault }
      let ranges: [Range<UInt64>?] = [0..<200_000, 50_000..<60_000, nil]
      for range in ranges {
        let error = await #expect(throws: ObjectStorageError.self) {
          let found = try await store.get(key, range: range)
          Issue.record("\(found.count) bytes believed under \(fault)")
        }
        #expect(error?.code == .unavailable || error?.code == .damaged)
        #expect(error?.key == key.name)
      }
      #expect(proxy.calls.count <= 3 * 4 * 3, "no more tries than the policy allows")
    }
  }

  /// To restart serve alone would leave computes with the old ones: their WAL would stay on the machine.
  @Test(arguments: [(400, "ExpiredToken"), (403, "InvalidToken"), (403, "InvalidAccessKeyId")])
  func expiredCredentialsLeadToServeAndToTheComputes(status: Int, code: String) async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port) { _ in .refusal(status, code) }
      defer { proxy.stop() }
      let store = try s3Store(server.url(port: proxy.port), server)
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(key, range: nil)
      }
      #expect(error?.code == .denied)
      let text = error.map { "\($0)" } ?? ""
      for part in [code, "AWS_", "restart exzo serve", "'exzo endpoints restart ID'"] {
        #expect(text.contains(part), "\(text)")
      }
    }
  }

  /// A proxy's 404 says nothing of an object: it is neither missing nor deleted.
  @Test func aProxysNotFoundIsNoMissingObject() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      let store = try s3Store(server.url(port: proxy.port), server)
      try await store.put(key, .bytes(content))
      proxy.setRule { _ in .status(404) }
      var codes: [ObjectStorageError.Code] = []
      func note(_ body: () async throws -> Void) async {
        do { try await body() } catch let error as ObjectStorageError {
          codes.append(error.code)
        } catch { Issue.record(error) }
      }
      await note { _ = try await store.size(key) }
      await note { _ = try await store.get(key, range: nil) }
      await note { try await store.delete(key) }
      await note { _ = try await store.list(prefix: "", after: nil, limit: 9) }
      #expect(codes == [.unavailable, .unavailable, .unavailable, .unavailable])
      proxy.setRule(nil)
      #expect(try await store.get(key, range: nil) == content)
      // The store's own word.
      let missing = ObjectKey("fault/missing")
      #expect(try await store.size(missing) == nil)
      let calls = proxy.calls.count
      await note { _ = try await store.get(missing, range: nil) }
      #expect(codes.last == .notFound && proxy.calls.count == calls + 1)
      try await store.delete(missing)
    }
  }

  /// The whole object is checked against the sum that it was put with.
  @Test func aTurnedByteInAWholeReadIsFound() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      let store = try s3Store(server.url(port: proxy.port), server)
      try await store.put(key, .bytes(content))
      proxy.setRule { $0.number == 1 ? .flipByte : nil }
      #expect(try await store.get(key, range: nil) == content)
      proxy.setRule { _ in .flipByte }
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(key, range: nil)
      }
      #expect(error?.code == .damaged)
    }
  }

  @Test func multipartUploadsOutliveFaults() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      var policy = quick
      policy.attempts = 12
      let store = try s3Store(
        server.url(port: proxy.port), server, policy: policy, multipartThreshold: 1 << 20,
        partSize: 5 << 20)
      let large = [UInt8](repeating: 7, count: 11 << 20) + content
      // Many requests are lost after they took effect, or answered 503.
      proxy.setRule {
        $0.number % 3 == 0 ? .resetAfter : $0.number % 5 == 1 ? .status(503) : nil
      }
      try await store.put(key, .bytes(large))
      proxy.setRule(nil)
      #expect(try await store.get(key, range: nil) == large)
    }
  }

  /// What the machine has taken of a body, and the line has not, comes to its end.
  @Test func aLargePutIsGivenTimeForItsAnswer() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port) { $0.method == "PUT" ? .slow(2_200) : nil }
      defer { proxy.stop() }
      var policy = quick
      (policy.attempts, policy.timeout) = (1, .seconds(1))
      let store = try s3Store(server.url(port: proxy.port), server, policy: policy)
      let large = [UInt8](repeating: 3, count: 1 << 20)
      try await store.put(key, .bytes(large))
      // A small one has nothing left to send.
      await #expect(throws: ObjectStorageError.self) { try await store.put(key, .bytes([1])) }
    }
  }

  @Test func retriesStopWhenTheTaskIsCancelled() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port) { _ in .status(503) }
      defer { proxy.stop() }
      var policy = quick
      policy.attempts = 1_000_000
      let store = try s3Store(server.url(port: proxy.port), server, policy: policy)
      let task = Task { try await store.get(key, range: nil) }
      while proxy.calls.count < 3 { try await Task.sleep(for: .milliseconds(2)) }
      task.cancel()
      await #expect(throws: CancellationError.self) { _ = try await task.value }
    }
  }
}
