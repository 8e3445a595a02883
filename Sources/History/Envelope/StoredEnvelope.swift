import ObjectStorage

/// An object read from a store without blocking: its end first, then the parts that are needed.
struct StoredEnvelope: Sendable {
  /// Objects up to this size are read whole.
  static let tailSize: UInt64 = 64 << 10

  let key: ObjectKey
  let directory: PartDirectory
  private let store: any ObjectStore
  private let tail: [UInt8]
  private let tailOffset: UInt64

  /// - Parameter size: of the object, as listed.
  init(
    _ key: ObjectKey, size: UInt64, kind: Envelope.Kind, store: any ObjectStore
  ) async throws {
    let offset = size - min(size, StoredEnvelope.tailSize)
    let tail = try await StoredEnvelope.get(key, offset..<size, store)
    guard tail.count >= Envelope.footerSize else {
      throw HistoryError(
        .damaged, operation: "open", key: key.name, detail: "object of \(size) bytes")
    }
    let footer = try EnvelopeFooter(
      Array(tail.suffix(Envelope.footerSize)), key: key, kind: kind, size: size)
    if offset == 0 {
      let header = try EnvelopeHeader(
        Array(tail.prefix(Envelope.headerSize)), key: key, kind: kind)
      guard header == footer.header else {
        throw HistoryError(
          .damaged, operation: "open", key: key.name, detail: "header and footer disagree")
      }
    }
    let range = footer.directoryRange
    let stored =
      range.lowerBound >= offset
      ? Array(tail[Int(range.lowerBound - offset)..<Int(range.upperBound - offset)])
      : try await StoredEnvelope.get(key, range, store)
    directory = try PartDirectory(stored: stored, footer: footer, key: key)
    self.key = key
    self.store = store
    self.tail = tail
    tailOffset = offset
  }

  /// A part's bytes, checked.
  func read(_ index: Int) async throws -> [UInt8] {
    let range = directory[index].storedRange
    let end = tailOffset + UInt64(tail.count)
    if range.lowerBound >= tailOffset, range.upperBound <= end {
      return try tail.withUnsafeBytes {
        try decode(
          index,
          UnsafeRawBufferPointer(
            rebasing: $0[Int(range.lowerBound - tailOffset)..<Int(range.upperBound - tailOffset)]))
      }
    }
    return try await StoredEnvelope.get(key, range, store).withUnsafeBytes {
      try decode(index, $0)
    }
  }

  /// The bytes of neighbouring parts, one after the other, fetched together.
  func read(parts: Range<Int>) async throws -> [UInt8] {
    if parts.count <= 1 { return parts.isEmpty ? [] : try await read(parts.lowerBound) }
    let (first, last) = (directory[parts.lowerBound], directory[parts.upperBound - 1])
    let range = first.offset..<max(first.offset, last.storedRange.upperBound)
    let stored = try await StoredEnvelope.get(key, range, store)
    return try stored.withUnsafeBytes { stored in
      var plain: [UInt8] = []
      plain.reserveCapacity(parts.reduce(0) { $0 + Int(directory[$1].plainLength) })
      for part in parts {
        let own = directory[part].storedRange
        guard own.lowerBound >= range.lowerBound, own.upperBound <= range.upperBound else {
          throw HistoryError(
            .damaged, operation: "read", key: key.name, detail: "parts \(parts) are not neighbours")
        }
        let (start, end) = (own.lowerBound - range.lowerBound, own.upperBound - range.lowerBound)
        plain += try decode(part, UnsafeRawBufferPointer(rebasing: stored[Int(start)..<Int(end)]))
      }
      return plain
    }
  }

  /// The bytes of the part that every object of this kind has one of.
  func read(type: UInt8, name: String) async throws -> [UInt8] {
    guard let index = directory.first(type: type) else {
      throw HistoryError(
        .damaged, operation: "read \(name) of", key: key.name, detail: "no such part")
    }
    return try await read(index)
  }

  private func decode(_ index: Int, _ stored: UnsafeRawBufferPointer) throws -> [UInt8] {
    let count = Int(directory[index].plainLength)
    return try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count)
      try directory.decode(index, stored: stored, into: target)
      initialized = count
    }
  }

  private static func get(
    _ key: ObjectKey, _ range: Range<UInt64>, _ store: any ObjectStore
  ) async throws -> [UInt8] {
    do {
      let bytes = try await store.get(key, range: range)
      guard bytes.count == range.count else {
        throw HistoryError(
          .damaged, operation: "read", key: key.name,
          detail: "\(bytes.count) bytes for \(range)")
      }
      return bytes
    } catch let error as ObjectStorageError where error.code == .outOfRange {
      throw HistoryError(
        .damaged, operation: "read", key: key.name, detail: "the object is cut short",
        cause: error)
    } catch {
      throw HistoryError.from(error, operation: "read", key: key.name)
    }
  }
}
