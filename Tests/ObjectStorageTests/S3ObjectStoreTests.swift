import DurableIO
import Foundation
import ObjectStorage
import Synchronization
import TestSupport
import Testing

/// Against a real server: `rclone serve s3` on loopback.
@Suite(.needsObjectServer) struct S3ObjectStoreTests {
  @Test(arguments: ["", "some/prefix"]) func keepsTheContract(prefix: String) async throws {
    try await withObjectServer { server, directory in
      let store = try s3Store(server.url(prefix: prefix), server, policy: S3RetryPolicy())
      try await ObjectStoreContract(store: store, directory: directory).runAll()
    }
  }

  @Test func keepsTheContractWithVirtualHosts() async throws {
    try await withObjectServer(flags: ["--force-path-style=false"]) { server, directory in
      // `bucket.localhost` resolves to loopback here; where it does not, nothing is proven.
      guard let entry = gethostbyname("bucket.localhost"), entry.pointee.h_addrtype == AF_INET
      else { return }
      let url = "s3://bucket/?endpoint=http://localhost:\(server.port)&style=virtual"
      let store = try s3Store(url, server)
      try await store.put(ObjectKey("a/b"), .bytes([1, 2]))
      #expect(try await store.get(ObjectKey("a/b"), range: nil) == [1, 2])
      #expect(try await store.list(prefix: "", after: nil, limit: 5).count == 1)
    }
  }

  @Test func putsLargeObjectsInParts() async throws {
    try await withObjectServer { server, directory in
      let proxy = try FaultProxy(upstream: server.port)
      let store = try s3Store(
        server.url(port: proxy.port), server, multipartThreshold: 6 << 20, partSize: 5 << 20)
      var random = SeededRandom(seed: 7)
      let content = (0..<(13 << 20) / 8).flatMap { _ in
        withUnsafeBytes(of: random.next()) { Array($0) }
      }
      let path = "\(directory)/large"
      try Data(content).write(to: URL(fileURLWithPath: path))
      let keys = [ObjectKey("large/file"), ObjectKey("large/bytes")]
      try await store.put(keys[0], .file(path: path))
      try await store.put(keys[1], .bytes(content))
      #expect(proxy.calls.filter { $0.target.contains("partNumber") }.count == 6)
      for key in keys {
        #expect(try await store.size(key) == UInt64(content.count))
        #expect(try await store.get(key, range: nil) == content)
      }
      #expect(
        try await store.get(keys[0], range: 5_000_000..<6_000_000)
          == Array(content[5_000_000..<6_000_000]))
    }
  }

  /// A crash between the parts of an upload: what is old is aborted, what is young or not ours stays.
  @Test func uploadsThatWereCutOffAreAborted() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      // Parts are lost on their way, and so are aborts: the upload stays.
      proxy.setRule {
        $0.target.contains("partNumber") || $0.method == "DELETE" ? .status(500) : nil
      }
      let large = ObjectBody.bytes([UInt8](repeating: 1, count: 6 << 20))
      for prefix in ["ours", "theirs"] {
        let broken = try s3Store(
          server.url(prefix: prefix, port: proxy.port), server, multipartThreshold: 1 << 20,
          partSize: 5 << 20)
        await #expect(throws: ObjectStorageError.self) {
          try await broken.put(ObjectKey("cut/off"), large)
        }
      }
      let store = try s3Store(server.url(prefix: "ours"), server)
      #expect(
        try await store.abortUploads(begunBefore: Date(timeIntervalSinceNow: -86_400))
          == .done(found: 1, aborted: 0))
      #expect(
        try await store.abortUploads(begunBefore: Date(timeIntervalSinceNow: 60))
          == .done(found: 1, aborted: 1))
      #expect(try await store.abortUploads(begunBefore: Date()) == .done(found: 0, aborted: 0))
      let theirs = try s3Store(server.url(prefix: "theirs"), server)
      #expect(
        try await theirs.abortUploads(begunBefore: Date(timeIntervalSinceNow: -86_400))
          == .done(found: 1, aborted: 0))
    }
  }

  @Test func aStoreThatListsNoUploadsIsSaidToBeOne() async throws {
    try await withObjectServer { server, _ in
      let proxy = try FaultProxy(upstream: server.port)
      defer { proxy.stop() }
      let store = try s3Store(server.url(port: proxy.port), server)
      for status in [501, 405, 400] {
        proxy.setRule { $0.target.contains("uploads") ? .status(status) : nil }
        let found = try await store.abortUploads(begunBefore: Date())
        #expect(found == .notSupported("status \(status)"))
      }
      // One that takes it for a listing of objects.
      proxy.setRule { $0.target.contains("uploads") ? .errorInBody : nil }
      guard case .notSupported(let said) = try await store.abortUploads(begunBefore: Date()) else {
        Issue.record("an answer without uploads was believed")
        return
      }
      #expect(said.contains("Error"))
      proxy.setRule { _ in .status(503) }
      await #expect(throws: ObjectStorageError.self) {
        _ = try await store.abortUploads(begunBefore: Date())
      }
    }
  }

  @Test func listsMoreThanOnePage() async throws {
    try await withObjectServer { server, directory in
      let names = (0..<2_345).map { "page/\(String(format: "%05d", $0))" }
      let bucket = "\(server.directory)/bucket/page"
      try FileManager.default.createDirectory(atPath: bucket, withIntermediateDirectories: true)
      for name in names {
        try Data([1]).write(to: URL(fileURLWithPath: "\(server.directory)/bucket/\(name)"))
      }
      let store = try s3Store(server.url(), server)
      let all = try await store.list(prefix: "page/", after: nil, limit: 10_000)
      #expect(all.map(\.key.name) == names)
      let some = try await store.list(
        prefix: "page/", after: ObjectKey(names[700]), limit: 1_500)
      #expect(some.map(\.key.name) == Array(names[701..<2_201]))
    }
  }

  @Test func refusalsNameBucketKeyCauseAndWayOut() async throws {
    try await withObjectServer { server, _ in
      let key = ObjectKey("some/object")
      let stranger = try S3ObjectStore(
        location: S3Location(url: server.url(), environment: [:]),
        credentials: S3Credentials(accessKeyID: "stranger", secretAccessKey: "wrong"),
        policy: quick)
      let denied = await #expect(throws: ObjectStorageError.self) {
        try await stranger.put(key, .bytes([1]))
      }
      #expect(denied?.code == .denied)
      let text = denied.map { "\($0)" } ?? ""
      for part in ["put object 'some/object'", "bucket 'bucket'", "HINT:", "AWS_ACCESS_KEY_ID"] {
        #expect(text.contains(part), "\(text)")
      }
      let lost = try s3Store(server.url(bucket: "no-such-bucket"), server)
      let missing = await #expect(throws: ObjectStorageError.self) { _ = try await lost.size(key) }
      #expect(missing?.code == .misconfigured, "a missing bucket is not a missing object")
      let nowhere = try s3Store(server.url(port: try unusedPort()), server)
      let away = await #expect(throws: ObjectStorageError.self) {
        _ = try await nowhere.get(key, range: nil)
      }
      #expect(away?.code == .unavailable)
      #expect(away.map { "\($0)".contains("given up after 4 tries") } == true)
    }
  }
}

let quick = S3RetryPolicy(
  attempts: 4, firstPause: .milliseconds(2), longestPause: .milliseconds(10), timeout: .seconds(2))

func s3Store(
  _ url: String, _ server: ObjectServer, policy: S3RetryPolicy = quick,
  multipartThreshold: Int = 16 << 20, partSize: Int = 8 << 20
) throws -> S3ObjectStore {
  try S3ObjectStore(
    location: S3Location(url: url, environment: [:]),
    credentials: S3Credentials(environment: server.environment, url: url), policy: policy,
    multipartThreshold: multipartThreshold, partSize: partSize)
}

func withObjectServer(
  flags: [String] = [], _ body: (ObjectServer, String) async throws -> Void
) async throws {
  try await withTemporaryDirectory { directory in
    let server = try await ObjectServer(directory: "\(directory)/s3", flags: flags)
    defer { server.stop() }
    try await body(server, directory)
  }
}
