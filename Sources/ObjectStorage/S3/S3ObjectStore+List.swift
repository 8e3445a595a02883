extension S3ObjectStore {
  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    let base = client.location.prefix
    var found: [ObjectListing] = []
    var token: String?
    repeat {
      var query = [("prefix", base + prefix), ("max-keys", "\(min(limit - found.count, 1000))")]
      if let token {
        query.append(("continuation-token", token))
      } else if let after {
        query.append(("start-after", base + after.name))
      }
      let page = try await page(query, prefix)
      token = page.token
      for (name, size) in page.objects {
        // Foreign objects in the bucket are none of ours.
        guard name.hasPrefix(base), ObjectKey.isValid(String(name.dropFirst(base.count))) else {
          continue
        }
        let key = ObjectKey(String(name.dropFirst(base.count)))
        // Not every store heeds `start-after`.
        if let last = found.last?.key ?? after, key <= last { continue }
        found.append(ObjectListing(key: key, size: size))
      }
    } while token != nil && found.count < limit
    return Array(found.prefix(limit))
  }

  public func directories(in prefix: String) async throws -> [String] {
    precondition(prefix.isEmpty || prefix.hasSuffix("/"), "'\(prefix)' is no directory")
    let base = client.location.prefix + prefix
    var found: Set<String> = []
    var token: String?
    repeat {
      var query = [("prefix", base), ("delimiter", "/"), ("max-keys", "1000")]
      if let token { query.append(("continuation-token", token)) }
      let page = try await page(query, prefix)
      token = page.token
      for name in page.prefixes where name.hasPrefix(base) && name.hasSuffix("/") {
        let part = String(name.dropFirst(base.count).dropLast())
        if ObjectKey.isValid(part) { found.insert(part) }
      }
    } while token != nil
    return found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  private struct Page {
    var objects: [(name: String, size: UInt64)] = []
    var prefixes: [String] = []
    /// Of the next page.
    var token: String?
  }

  private func page(_ query: [(String, String)], _ prefix: String) async throws -> Page {
    let request = S3Request(
      method: .get, name: "",
      query: ([("list-type", "2")] + query).map { (name: $0.0, value: $0.1) })
    return try await client.perform(request, "list objects", key: prefix, accepts: [200]) {
      let root = try parsed($0, "list objects", prefix).root
      func wrong(_ detail: String) -> S3Client.Failed {
        .again(client.error(.unavailable, "list objects", prefix, detail))
      }
      guard root.name == "ListBucketResult", let isCut = root.first("IsTruncated")?.text else {
        throw wrong("an answer that is no listing")
      }
      var page = Page()
      for entry in root.all("Contents") {
        guard let name = entry.first("Key")?.text,
          let size = entry.first("Size").flatMap({ UInt64($0.text) })
        else { throw wrong("an entry without key or size") }
        page.objects.append((name, size))
      }
      page.prefixes = root.all("CommonPrefixes").compactMap { $0.first("Prefix")?.text }
      if isCut == "true" {
        guard let token = root.first("NextContinuationToken")?.text, !token.isEmpty else {
          throw wrong("a listing that is cut, without a continuation")
        }
        page.token = token
      }
      return page
    }
  }
}
