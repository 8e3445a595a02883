import ObjectStorage

/// An opened object: its parts can be read alone, each checked.
///
/// Reading blocks the thread where the object is not in memory. Safe from several threads.
struct EnvelopeReader: Sendable {
  let directory: PartDirectory
  let source: any ObjectBytes

  /// The end of a far object that is fetched first: header, directory, index and small trees of
  /// most objects lie in it.
  static let tailSize: UInt64 = 128 << 10

  /// Reads and checks header, footer and directory.
  init(_ source: any ObjectBytes, kind: Envelope.Kind) throws {
    let (key, size) = (source.key, source.size)
    guard size >= UInt64(Envelope.headerSize + Envelope.footerSize) else {
      throw HistoryError(
        .damaged, operation: "open", key: key.name, detail: "object of \(size) bytes")
    }
    let source = source.isNear ? source : try TailedObjectBytes(source, size: Self.tailSize)
    let footer = try EnvelopeFooter(
      EnvelopeReader.bytes(
        source, at: size - UInt64(Envelope.footerSize), count: Envelope.footerSize),
      key: key, kind: kind, size: size)
    // The footer repeats the header: of a far object that one is enough.
    if source.isNear || size <= Self.tailSize {
      let header = try EnvelopeHeader(
        EnvelopeReader.bytes(source, at: 0, count: Envelope.headerSize), key: key, kind: kind)
      guard footer.header == header else {
        throw HistoryError(
          .damaged, operation: "open", key: key.name, detail: "header and footer disagree")
      }
    }
    directory = try PartDirectory(
      stored: EnvelopeReader.bytes(
        source, at: footer.directoryOffset, count: Int(footer.directoryLength)),
      footer: footer, key: key)
    self.source = source
  }

  /// Opens an object that is in memory.
  init(key: ObjectKey, bytes: [UInt8], kind: Envelope.Kind) throws {
    try self.init(MemoryObjectBytes(key: key, bytes: bytes), kind: kind)
  }

  private static func bytes(
    _ source: any ObjectBytes, at offset: UInt64, count: Int
  ) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      try source.read(
        into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count), at: offset)
      initialized = count
    }
  }

  /// Reads a part into `target`, whose size must be the part's plain length.
  ///
  /// On throw the target's content is unspecified.
  func read(_ index: Int, into target: UnsafeMutableRawBufferPointer) throws {
    let entry = directory[index]
    let count = Int(entry.storedLength)
    try withUnsafeTemporaryAllocation(byteCount: max(count, 1), alignment: 16) { scratch in
      let stored = UnsafeMutableRawBufferPointer(rebasing: scratch[..<count])
      try source.read(into: stored, at: entry.offset)
      try directory.decode(index, stored: UnsafeRawBufferPointer(stored), into: target)
    }
  }

  /// The stored bytes from the beginning of one part to the end of another, in one read.
  func readStored(_ parts: ClosedRange<Int>) throws -> [UInt8] {
    let start = directory[parts.lowerBound].offset
    return try EnvelopeReader.bytes(
      source, at: start, count: Int(directory[parts.upperBound].storedRange.upperBound - start))
  }

  /// As ``read(_:into:)``, from what ``readStored(_:)`` returned for parts from `first` on.
  func read(
    _ index: Int, in stored: [UInt8], first: Int, into target: UnsafeMutableRawBufferPointer
  ) throws {
    let range = directory[index].storedRange
    let start = Int(range.lowerBound - directory[first].offset)
    try stored.withUnsafeBytes {
      try directory.decode(
        index, stored: UnsafeRawBufferPointer(rebasing: $0[start..<start + range.count]),
        into: target)
    }
  }

  /// A part's bytes.
  func read(_ index: Int) throws -> [UInt8] {
    let count = Int(directory[index].plainLength)
    return try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      try read(
        index, into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count))
      initialized = count
    }
  }

  /// The bytes of the only part of a type that every object of this kind has.
  func read(type: UInt8, name: String) throws -> [UInt8] {
    guard let index = directory.first(type: type) else {
      throw HistoryError(
        .damaged, operation: "read \(name) of", key: source.key.name, detail: "no such part")
    }
    return try read(index)
  }
}

/// Reads whole objects from a store and opens them: for objects that are small.
func readEnvelope(
  _ key: ObjectKey, kind: Envelope.Kind, store: any ObjectStore
) async throws -> EnvelopeReader {
  let bytes: [UInt8]
  do {
    bytes = try await store.get(key, range: nil)
  } catch {
    throw HistoryError.from(error, operation: "read", key: key.name)
  }
  return try EnvelopeReader(key: key, bytes: bytes, kind: kind)
}
