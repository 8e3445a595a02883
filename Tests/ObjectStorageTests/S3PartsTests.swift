import Foundation
import Testing

@testable import ObjectStorage

@Suite struct S3PartsTests {
  /// The example of Amazon's "Authenticating Requests (AWS Signature Version 4)": GET of an object.
  @Test func signsTheDocumentedExample() throws {
    let signature = S3Signature(
      credentials: S3Credentials(
        accessKeyID: "AKIAIOSFODNN7EXAMPLE",
        secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), region: "us-east-1")
    var request = S3Request(method: .get, name: "")
    request.query = [("prefix", "J"), ("max-keys", "2")]
    let headers = signature.headers(
      of: request, host: "examplebucket.s3.amazonaws.com", path: "/", time: 1_369_353_600)
    let found = headers.first { $0.name == "authorization" }?.value
    #expect(
      found
        == "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        + "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        + "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
  }

  @Test func readsLocations() throws {
    let plain = try S3Location(url: "s3://my-bucket", environment: ["AWS_REGION": "eu-central-1"])
    #expect(plain.host == "my-bucket.s3.eu-central-1.amazonaws.com" && plain.scheme == "https")
    #expect(plain.path("a/b") == "/a/b" && plain.prefix == "")
    let local = try S3Location(
      url: "s3://bucket/x/y/?endpoint=http://127.0.0.1:9000&region=r", environment: [:])
    #expect(local.path(local.prefix + "a") == "/bucket/x/y/a" && local.host == "127.0.0.1:9000")
    let named = try S3Location(
      url: "s3://bucket?style=path", environment: ["AWS_ENDPOINT_URL": "https://s3.example.org"])
    #expect(named.path("a") == "/bucket/a" && named.authority == "s3.example.org")
    for bad in [
      "s3://", "file:///x", "s3://UPPER", "s3://bucket/a b", "s3://bucket?endpoint=ftp://x",
      "s3://bucket?style=other",
    ] {
      let error = #expect(throws: ObjectStorageError.self, "\(bad)") {
        _ = try S3Location(url: bad, environment: [:])
      }
      #expect(error?.code == .misconfigured && error?.hint.isEmpty == false)
    }
    let error = #expect(throws: ObjectStorageError.self) {
      _ = try S3Credentials(environment: [:], url: "s3://bucket")
    }
    #expect(error.map { "\($0)".contains("AWS_ACCESS_KEY_ID") } == true)
  }

  @Test func readsAnswers() throws {
    let text = """
      <?xml version="1.0" encoding="UTF-8"?>
      <!-- a remark --><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <IsTruncated>false</IsTruncated><Empty/>
      <Contents><Key>a&amp;b&#x41;&#66;</Key><Size>5</Size></Contents><Contents><Key>c</Key></Contents>
      </ListBucketResult>
      """
    let root = try S3Answer(Array(text.utf8)).root
    #expect(root.name == "ListBucketResult" && root.first("IsTruncated")?.text == "false")
    #expect(root.all("Contents").compactMap { $0.first("Key")?.text } == ["a&bAB", "c"])
    for count in 0..<text.utf8.count {
      #expect(throws: (any Error).self) { _ = try S3Answer(Array(text.utf8.prefix(count))) }
    }
    let deep = String(repeating: "<a>", count: 100) + String(repeating: "</a>", count: 100)
    #expect(throws: (any Error).self) { _ = try S3Answer(Array(deep.utf8)) }
  }

  @Test func whatMovesIsGivenTimeAndWhatStandsStillIsNot() async throws {
    // Longer than it may stand still; a busy machine may hold up a step for a second.
    let moved = try await whileMoving(.seconds(5)) { movement in
      for _ in 0..<52 {
        try await Task.sleep(for: .milliseconds(100))
        movement.note()
      }
      return true
    }
    #expect(moved)
    let time = await ContinuousClock().measure {
      await #expect(throws: Standstill.self) {
        try await whileMoving(.milliseconds(100)) { movement in
          movement.note()
          try await Task.sleep(for: .seconds(60))
        }
      }
    }
    #expect(time < .seconds(30))
  }

  @Test func bodiesAreHandedOverInPieces() async throws {
    let bytes = (0..<150_000).map { UInt8(truncatingIfNeeded: $0) }
    let movement = Movement()
    var (sizes, found): ([Int], [UInt8]) = ([], [])
    var before = movement.time
    for try await piece in PiecewiseBody(bytes: bytes, movement: movement) {
      #expect(movement.time > before)
      before = movement.time
      sizes.append(piece.readableBytes)
      found += Array(piece.readableBytesView)
    }
    #expect(sizes == [65_536, 65_536, 18_928] && found == bytes)
  }

  /// Four uploads of three parts at once share what there is: about 6 Mbit/s are enough.
  @Test func standstillsAreNoticedInTimeThatFitsTheBody() {
    let policy = S3RetryPolicy()
    #expect(policy.stall(sending: 0) == .seconds(20))
    #expect(policy.stall(sending: 100_000) == .seconds(21))
    #expect(policy.stall(sending: 8 << 20) == .seconds(84))
    #expect(policy.stall(sending: 1 << 30) == .seconds(84))
  }

  @Test func pausesGrowToTheirBoundAndVary() {
    let policy = S3RetryPolicy()
    #expect(policy.pause(before: 2, random: 0) == .zero)
    for (attempt, bound) in [(2, 0.1), (3, 0.2), (5, 0.8), (8, 5.0), (400, 5.0)] {
      let pause = policy.pause(before: attempt, random: .max)
      #expect(pause > .seconds(bound * 0.99) && pause <= .seconds(bound))
    }
  }
}
