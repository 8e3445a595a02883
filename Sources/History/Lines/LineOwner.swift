import ObjectStorage
import PostgresFormat

/// Who may write a line: the highest epoch. Each writer leaves one such object.
struct LineOwner: Hashable, Comparable, Sendable {
  var epoch: UInt32
  /// Random; tells two apart that took the same epoch at the same time.
  var token: UInt32
  /// What the line held when it was taken over: bytes that a lower epoch wrote beyond are ignored.
  var takeoverLSN: LSN
  var createdAt: PostgresTimestamp
  /// Layers that the line's volume reads below its own blocks; `nil`: those of the line's origin, with WAL up
  /// to the branch point.
  var base: [LayerReference]?

  static let partType: UInt8 = 1

  static func < (a: LineOwner, b: LineOwner) -> Bool {
    (a.epoch, a.token) < (b.epoch, b.token)
  }

  func put(on line: LineID, store: any ObjectStore) async throws {
    let key = LineKeys(line: line).owner(epoch: epoch, token: token)
    var writer = BinaryWriter()
    writer.append(epoch)
    writer.append(token)
    writer.append(takeoverLSN.rawValue)
    writer.append(createdAt.rawValue)
    if let base {
      writer.append(varint: UInt64(base.count))
      for layer in base { layer.encode(to: &writer) }
    }
    var envelope = EnvelopeWriter(kind: .owner, key: key)
    try envelope.addPart(type: LineOwner.partType, writer.bytes)
    try envelope.finish()
    do {
      try await store.put(key, .bytes(envelope.takePending()))
    } catch {
      throw HistoryError.from(error, operation: "take line over", key: key.name)
    }
  }

  /// The keys of a line's owners, lowest first, with what the keys say.
  static func list(
    on line: LineID, store: any ObjectStore
  ) async throws -> [(key: ObjectKey, epoch: UInt32, token: UInt32)] {
    let prefix = LineKeys(line: line).ownerPrefix
    return try await listAll(prefix: prefix, after: nil, store: store).compactMap { listing in
      let parts = listing.key.name.dropFirst(prefix.count).split(separator: "-")
      guard parts.count == 2, let epoch = UInt32(parts[0], radix: 16),
        let token = UInt32(parts[1], radix: 16)
      else { return nil }
      return (listing.key, epoch, token)
    }
  }

  static func read(_ key: ObjectKey, store: any ObjectStore) async throws -> LineOwner {
    let envelope = try await readEnvelope(key, kind: .owner, store: store)
    let bytes = try envelope.read(type: partType, name: "owner")
    return try BinaryReader.decode(bytes, key: key.name, operation: "read owner") {
      var owner = LineOwner(
        epoch: try $0.read(), token: try $0.read(), takeoverLSN: LSN(try $0.read()),
        createdAt: PostgresTimestamp(try $0.read()))
      if $0.isAtEnd { return owner }
      var base: [LayerReference] = []
      for _ in 0..<(try $0.readCount(minimumSize: 8)) { base.append(try LayerReference(from: &$0)) }
      guard (1...LayerStack.maximumLayers).contains(base.count) else {
        throw $0.malformed("1 to \(LayerStack.maximumLayers) layers")
      }
      owner.base = base
      return owner
    }
  }
}

/// Everything below a prefix and after a key, asked for a thousand at a time.
func listAll(
  prefix: String, after: ObjectKey?, store: any ObjectStore
) async throws -> [ObjectListing] {
  var result: [ObjectListing] = []
  var after = after
  while true {
    let page: [ObjectListing]
    do {
      page = try await store.list(prefix: prefix, after: after, limit: 1000)
    } catch {
      throw HistoryError.from(error, operation: "list", key: prefix)
    }
    guard let last = page.last else { return result }
    result += page
    after = last.key
  }
}
