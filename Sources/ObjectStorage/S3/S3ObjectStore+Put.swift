import Crypto
import DurableIO
import Foundation

extension S3ObjectStore {
  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    switch body {
    case .bytes(let bytes) where bytes.count <= multipartThreshold: try await put(key, bytes)
    case .bytes(let bytes):
      let sum = objectSum(size: bytes.count, crc: crc32c(bytes))
      try await upload(key, size: bytes.count, sum: sum) { range in Array(bytes[range]) }
    case .file(let path):
      let file = try await opened(path, key)
      if file.size <= multipartThreshold {
        return try await put(key, try await file.read(0..<file.size))
      }
      var crc: UInt32 = 0
      for start in stride(from: 0, to: file.size, by: partSize) {
        crc = crc32c(
          try await file.read(start..<min(start + partSize, file.size)), from: crc)
      }
      try await upload(key, size: file.size, sum: objectSum(size: file.size, crc: crc)) {
        try await file.read($0)
      }
    }
  }

  /// One request. The signature covers the body's SHA-256, Content-MD5 its MD5: a store that heeds
  /// either refuses what changed on the way.
  private func put(_ key: ObjectKey, _ bytes: [UInt8]) async throws {
    let digest = md5(bytes)
    let sum = objectSum(size: bytes.count, crc: crc32c(bytes))
    let request = S3Request(
      method: .put, name: name(key),
      headers: [
        ("content-md5", base64(digest)), ("content-type", "application/octet-stream"),
        (S3ObjectStore.checksumHeader, sum),
      ], body: bytes)
    try await client.perform(request, "put object", key: key.name, accepts: [200]) { response in
      // The tag is the MD5 of what the store holds, unless it encrypts with keys of its own.
      if tag(response.headers["etag"]) == hexadecimal(digest) { return }
      try await verify(key, size: bytes.count) { Array(bytes[$0]) }
    }
  }

  /// Reads back the size and both ends of an object, and compares.
  ///
  /// For stores whose tag tells nothing: that the body arrived whole is then known from the
  /// signature, where the store checks it, and from this.
  private func verify(
    _ key: ObjectKey, size: Int, expected: (Range<Int>) async throws -> [UInt8]
  ) async throws {
    let end = min(size, 64 << 10)
    for range in Set([0..<end, size - end..<size]) {
      let found = try await slice(key, UInt64(range.lowerBound)..<UInt64(range.upperBound))
      guard found.objectSize == UInt64(size), found.bytes == (try await expected(range)) else {
        throw S3Client.Failed.again(
          client.error(
            .damaged, "put object", key.name,
            "\(size) bytes were put, \(found.objectSize) others are there"))
      }
    }
  }

  // MARK: Multipart

  private func upload(
    _ key: ObjectKey, size: Int, sum: String,
    read: @escaping @Sendable (Range<Int>) async throws -> [UInt8]
  ) async throws {
    let needed = (size + S3ObjectStore.maximumParts - 1) / S3ObjectStore.maximumParts
    let partSize = max(self.partSize, needed)
    let upload = try await begin(key, sum)
    do {
      let ranges = stride(from: 0, to: size, by: partSize).map { $0..<min($0 + partSize, size) }
      let tags = try await putParts(key, upload, ranges, read)
      try await complete(key, upload, tags)
      try await verify(key, size: size, expected: read)
    } catch {
      // The first error is the one to report; the next cleaning aborts what is left.
      try? await abort(key, upload)
      if case S3Client.Failed.again(let failure) = error { throw failure }
      throw error
    }
  }

  private func begin(_ key: ObjectKey, _ sum: String) async throws -> String {
    let request = S3Request(
      method: .post, name: name(key), query: [("uploads", "")],
      headers: [
        ("content-type", "application/octet-stream"), (S3ObjectStore.checksumHeader, sum),
      ])
    return try await client.perform(request, "put object", key: key.name, accepts: [200]) {
      guard let id = try parsed($0, "put object", key.name).root.first("UploadId")?.text,
        !id.isEmpty
      else {
        throw S3Client.Failed.again(
          client.error(.unavailable, "put object", key.name, "an upload without an id"))
      }
      return id
    }
  }

  /// Three parts at a time; returns their tags in order.
  private func putParts(
    _ key: ObjectKey, _ upload: String, _ ranges: [Range<Int>],
    _ read: @escaping @Sendable (Range<Int>) async throws -> [UInt8]
  ) async throws -> [String] {
    var tags = [String](repeating: "", count: ranges.count)
    try await withThrowingTaskGroup(of: (Int, String).self) { group in
      var next = 0
      func addNext() {
        guard next < ranges.count else { return }
        let number = next
        next += 1
        group.addTask {
          (number, try await self.putPart(key, upload, number, try await read(ranges[number])))
        }
      }
      for _ in 0..<3 { addNext() }
      while let (number, tag) = try await group.next() {
        tags[number] = tag
        addNext()
      }
    }
    return tags
  }

  private func putPart(
    _ key: ObjectKey, _ upload: String, _ number: Int, _ bytes: [UInt8]
  ) async throws -> String {
    let digest = md5(bytes)
    let request = S3Request(
      method: .put, name: name(key),
      query: [("partNumber", "\(number + 1)"), ("uploadId", upload)],
      headers: [("content-md5", base64(digest))], body: bytes)
    return try await client.perform(request, "put object", key: key.name, accepts: [200]) {
      guard let tag = $0.headers["etag"] else {
        throw S3Client.Failed.again(
          client.error(.unavailable, "put object", key.name, "part \(number + 1) without a tag"))
      }
      return tag
    }
  }

  private func complete(_ key: ObjectKey, _ upload: String, _ tags: [String]) async throws {
    let parts = tags.enumerated().map {
      "<Part><PartNumber>\($0.offset + 1)</PartNumber><ETag>\($0.element)</ETag></Part>"
    }
    let request = S3Request(
      method: .post, name: name(key), query: [("uploadId", upload)],
      headers: [("content-type", "application/xml")],
      body: Array("<CompleteMultipartUpload>\(parts.joined())</CompleteMultipartUpload>".utf8))
    do {
      try await client.perform(request, "put object", key: key.name, accepts: [200]) {
        // An error may come with status 200: the answer begins before the work is done.
        let root = try parsed($0, "put object", key.name).root
        guard root.name == "CompleteMultipartUploadResult" else {
          throw S3Client.Failed.again(
            client.error(
              .unavailable, "put object", key.name, "\(root.first("Code")?.text ?? root.name)"))
        }
      }
    } catch let error as ObjectStorageError where error.code == .notFound {
      // The upload is gone: an earlier try completed it, which the verification that follows tells.
      return
    }
  }

  private func abort(_ key: ObjectKey, _ upload: String) async throws {
    let request = S3Request(method: .delete, name: name(key), query: [("uploadId", upload)])
    try await client.perform(
      request, "put object", key: key.name, accepts: [200, 204, 404], take: { _ in })
  }

  // MARK: Files

  /// A local file, read on the store's own threads.
  private struct Body: Sendable {
    let file: any OpenFile
    let size: Int
    let threads: BlockingThreads

    func read(_ range: Range<Int>) async throws -> [UInt8] {
      try await threads.run {
        try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
          let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: range.count)
          count = try file.read(into: target, at: UInt64(range.lowerBound), operation: "put object")
          guard count == range.count else {
            throw FileError(operation: "put object", path: file.path, code: EIO)
          }
        }
      }
    }
  }

  private func opened(_ path: String, _ key: ObjectKey) async throws -> Body {
    do {
      return try await threads.run { [threads] in
        let file = try SystemFileSystem().open(path, .read, operation: "put object")
        return Body(
          file: file, size: Int(try file.size(operation: "put object")), threads: threads)
      }
    } catch {
      throw ObjectStorageError(
        .unavailable, operation: "put object", key: key.name, detail: "read '\(path)'",
        cause: error)
    }
  }

  private func tag(_ text: String?) -> String? {
    text.map { $0.filter { $0 != "\"" }.lowercased() }
  }
}

func md5(_ bytes: [UInt8]) -> [UInt8] { Array(Insecure.MD5.hash(data: bytes)) }

func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }
