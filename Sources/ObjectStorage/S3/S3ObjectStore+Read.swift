extension S3ObjectStore {
  /// A range as the store answered it, with the object's own checksum where it came along.
  private struct Found {
    var slice: ObjectSlice
    var sum: String?
    var tag: String?
  }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    guard let range else { return try await whole(key) }
    let slice = try await self.slice(key, range)
    guard range.upperBound <= slice.objectSize else {
      throw client.error(
        .outOfRange, "get object", key.name, "range \(range) of \(slice.objectSize) bytes")
    }
    return slice.bytes
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    guard !range.isEmpty else {
      guard let size = try await size(key) else {
        throw client.error(.notFound, "get object", key.name, "no such object")
      }
      return ObjectSlice(bytes: [], objectSize: size)
    }
    return try await fetch(key, range).slice
  }

  public func size(_ key: ObjectKey) async throws -> UInt64? {
    do {
      return try await fetch(key, 0..<1, operation: "look up object").slice.objectSize
    } catch let error as ObjectStorageError where error.code == .notFound {
      return nil
    }
  }

  /// The whole object, in pieces where it is large; pieces of two versions do not mix.
  private func whole(_ key: ObjectKey) async throws -> [UInt8] {
    let piece: UInt64 = 32 << 20
    var last: ObjectStorageError?
    for _ in 0..<3 {
      let first = try await fetch(key, 0..<piece)
      var bytes = first.slice.bytes
      var isOneVersion = true
      while isOneVersion, UInt64(bytes.count) < first.slice.objectSize {
        let start = UInt64(bytes.count)
        let next = try await fetch(key, start..<start + piece)
        isOneVersion = next.tag == first.tag && next.slice.objectSize == first.slice.objectSize
        bytes += next.slice.bytes
      }
      let sum = objectSum(size: bytes.count, crc: crc32c(bytes))
      if isOneVersion, first.sum == nil || first.sum == sum { return bytes }
      last = client.error(
        .damaged, "get object", key.name,
        "written as \(first.sum ?? "another version"), read as \(sum)")
    }
    throw last ?? client.error(.damaged, "get object", key.name, "it changes while it is read")
  }

  private func fetch(
    _ key: ObjectKey, _ range: Range<UInt64>, operation: String = "get object"
  ) async throws -> Found {
    var request = S3Request(method: .get, name: name(key))
    request.headers = [("range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")]
    return try await client.perform(
      request, operation, key: key.name, accepts: [200, 206, 416]
    ) { response in
      func wrong(_ detail: String) -> S3Client.Failed {
        .again(client.error(.unavailable, operation, key.name, detail))
      }
      let slice = try await slice(of: response, range, key, wrong)
      let sum = response.headers[S3ObjectStore.checksumHeader]
      // A store that lost or mangled the header says nothing; one that has it must agree.
      if let sum, let size = sum.split(separator: "-").first.flatMap({ UInt64($0) }),
        size != slice.objectSize
      {
        throw wrong("\(slice.objectSize) bytes, written as \(size)")
      }
      return Found(slice: slice, sum: sum, tag: response.headers["etag"])
    }
  }

  /// Takes an answer for what it says, where everything that it says agrees.
  private func slice(
    of response: S3Response, _ range: Range<UInt64>, _ key: ObjectKey,
    _ wrong: (String) -> S3Client.Failed
  ) async throws -> ObjectSlice {
    let count = UInt64(response.body.count)
    guard response.status == 416 else {
      // Some servers say 200 and answer the range nevertheless; what says nothing of the range may
      // be anything, such as an error of a proxy.
      guard let said = contentRange(response.headers["content-range"]) else {
        throw wrong("status \(response.status) and \(count) bytes, without a content-range")
      }
      guard said.start == range.lowerBound, said.end == min(range.upperBound, said.total),
        count == said.end - said.start
      else {
        throw wrong("\(count) bytes said to be \(said.start)..<\(said.end) of \(said.total)")
      }
      return ObjectSlice(bytes: response.body, objectSize: said.total)
    }
    // Some say how large the object is; an empty one has no range at all.
    if let text = response.headers["content-range"], text.hasPrefix("bytes */"),
      let total = UInt64(text.dropFirst(8))
    {
      guard total <= range.lowerBound else { throw wrong("no range, but \(total) bytes") }
      return ObjectSlice(bytes: [], objectSize: total)
    }
    let size = range.lowerBound == 0 ? 0 : try await size(key)
    return ObjectSlice(bytes: [], objectSize: size ?? 0)
  }

  /// `bytes 5-9/100` as `(5, 10, 100)`.
  private func contentRange(_ text: String?) -> (start: UInt64, end: UInt64, total: UInt64)? {
    guard let text, text.hasPrefix("bytes ") else { return nil }
    let numbers = text.dropFirst(6).split(whereSeparator: { $0 == "-" || $0 == "/" })
    guard numbers.count == 3, let start = UInt64(numbers[0]), let last = UInt64(numbers[1]),
      let total = UInt64(numbers[2]), start <= last, last < total
    else { return nil }
    return (start, last + 1, total)
  }
}
