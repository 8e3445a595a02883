import DurableIO
import Glibc

/// Objects in an S3-compatible bucket.
///
/// ## Purpose
/// History far from the machine: Amazon's S3, Ceph, MinIO, R2, or anything that speaks like them.
///
/// ## State and invariants
/// 1. An object is put whole or not at all; on return the store has said what it holds, and that is
///    what was given (``verify``).
/// 2. What is read is as long as the store's own total says, or it is not handed out: a cut or
///    shortened answer is asked for again.
/// 3. Needs no checksum header, no conditional write and no listing order beyond the API's.
///
/// ## On the wire
/// `PUT` (multipart above ``multipartThreshold``), ranged `GET`, `ListObjectsV2`, `DELETE`, `DeleteObjects`. Sizes
/// are asked for with a ranged `GET`, whose errors say whether object or bucket is missing; `HEAD`'s do
/// not. Each object carries `x-amz-meta-exzo-sum: <size>-<CRC-32C>`; where it comes back with the
/// object, whole reads are checked against it.
///
/// ## Crash
/// Nothing is kept locally. A multipart upload that was cut off leaves parts in the bucket that no
/// listing of objects shows: ``abortUploads(begunBefore:)`` finds and aborts them.
///
/// ## Concurrency
/// Safe from any task; ``S3Client`` is the one place that retries.
///
/// ## Not guarded here
/// Damage of bytes inside a range that is not the whole object: readers verify what they read.
public final class S3ObjectStore: ObjectStore {
  /// Files and bytes above this are uploaded in parts.
  public let multipartThreshold: Int
  let client: S3Client
  let threads: BlockingThreads
  let partSize: Int
  static let maximumParts = 10_000
  static let checksumHeader = "x-amz-meta-exzo-sum"

  /// - Parameter partSize: of a multipart upload; stores ask for 5 MiB at least.
  public init(
    location: S3Location, credentials: S3Credentials, policy: S3RetryPolicy = S3RetryPolicy(),
    environment: S3Environment = .system, threads: BlockingThreads = BlockingThreads(count: 2),
    multipartThreshold: Int = 16 << 20, partSize: Int = 8 << 20
  ) throws {
    client = try S3Client(
      location: location, credentials: credentials, policy: policy, environment: environment)
    self.threads = threads
    self.multipartThreshold = multipartThreshold
    self.partSize = partSize
  }

  func name(_ key: ObjectKey) -> String { client.location.prefix + key.name }

  public func localFile(_ key: ObjectKey) -> String? { nil }

  // MARK: Deletion

  public func delete(_ key: ObjectKey) async throws {
    let request = S3Request(method: .delete, name: name(key))
    do {
      try await client.perform(
        request, "delete object", key: key.name, accepts: [200, 202, 204], take: { _ in })
    } catch let error as ObjectStorageError where error.code == .notFound {
      return
    }
  }

  /// A thousand a request.
  public func delete(_ keys: [ObjectKey]) async throws {
    for start in stride(from: 0, to: keys.count, by: 1000) {
      try await deleteBatch(Array(keys[start..<min(start + 1000, keys.count)]))
    }
  }

  private func deleteBatch(_ keys: [ObjectKey]) async throws {
    // Keys hold no character that XML would have to escape.
    let objects = keys.map { "<Object><Key>\(name($0))</Key></Object>" }.joined()
    let body = Array("<Delete><Quiet>true</Quiet>\(objects)</Delete>".utf8)
    let request = S3Request(
      method: .post, name: "", query: [("delete", "")],
      headers: [("content-md5", base64(md5(body))), ("content-type", "application/xml")],
      body: body)
    let key = keys[0].name
    try await client.perform(request, "delete objects", key: key, accepts: [200]) { response in
      let answer = try parsed(response, "delete objects", key)
      let failures = answer.root.all("Error").filter { $0.first("Code")?.text != "NoSuchKey" }
      guard let first = failures.first else { return }
      let failed = first.first("Key")?.text.dropFirst(client.location.prefix.utf8.count)
      throw S3Client.Failed.again(
        client.error(
          first.first("Code")?.text == "AccessDenied" ? .denied : .unavailable, "delete objects",
          failed.map(String.init) ?? key,
          "\(failures.count) of \(keys.count) remain: \(first.first("Message")?.text ?? "")"))
    }
  }

  func parsed(_ response: S3Response, _ operation: String, _ key: String) throws -> S3Answer {
    do {
      return try S3Answer(response.body)
    } catch {
      throw S3Client.Failed.again(
        client.error(.unavailable, operation, key, "an answer that is not whole XML"))
    }
  }
}

/// The machine's clock, seconds since 1970.
func systemTime() -> Int { time(nil) }

/// `<size>-<CRC-32C, 8 hexadecimal digits>`.
func objectSum(size: Int, crc: UInt32) -> String {
  let digits = String(crc, radix: 16)
  return "\(size)-" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
}
