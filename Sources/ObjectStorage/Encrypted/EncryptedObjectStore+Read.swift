import DurableIO

extension EncryptedObjectStore {
  public func localFile(_ key: ObjectKey) -> String? { nil }

  public func size(_ key: ObjectKey) async throws -> UInt64? {
    let stored = try await stored(key)
    return try await naming(key.name) {
      try await base.size(stored).map(EncryptedObjectStore.plainSize)
    }
  }

  /// What an object holds that is listed with so many bytes.
  ///
  /// No object of ours is empty: 0 where none can have this size. Whoever reads it finds that it is damaged, and a
  /// listing does not end at it.
  static func plainSize(_ sealed: UInt64) -> UInt64 { SealedObject.plainSize(sealed) ?? 0 }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    guard let range else { return try await whole(key) }
    let slice = try await self.slice(key, range)
    guard range.upperBound <= slice.objectSize else {
      throw ObjectStorageError(
        .outOfRange, operation: "get object", key: key.name,
        detail: "range \(range) of \(slice.objectSize) bytes")
    }
    return slice.bytes
  }

  private func whole(_ key: ObjectKey) async throws -> [UInt8] {
    let stored = try await stored(key)
    return try await naming(key.name) {
      try await twice(key, stored) { try await whole(key, stored) }
    }
  }

  /// What is damaged may have been kept nearer, of an object that was replaced, or another copy may be whole: once
  /// more from there.
  private func twice<Value>(
    _ key: ObjectKey, _ stored: ObjectKey, _ read: () async throws -> Value
  ) async throws -> Value {
    do {
      return try await read()
    } catch let error as ObjectStorageError where error.code == .damaged {
      close(key)
      base.distrust(stored)
      return try await read()
    }
  }

  private func whole(_ key: ObjectKey, _ stored: ObjectKey) async throws -> [UInt8] {
    let bytes = try await base.get(stored, range: nil)
    let header = Int(SealedObject.headerSize)
    let sealer = try await open(bytes.prefix(header), of: key, stored: stored)
    guard UInt64(bytes.count) == SealedObject.sealedSize(sealer.header.plainSize) else {
      throw ObjectStorageError(
        .damaged, operation: "open sealed object", key: key.name,
        detail: "\(bytes.count) bytes for \(sealer.header.plainSize) plain ones")
    }
    return try await threads.run {
      try bytes.withUnsafeBytes {
        try sealer.open(UnsafeRawBufferPointer(rebasing: $0[header...]), firstFrame: 0)
      }
    }
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    let stored = try await stored(key)
    return try await naming(key.name) {
      try await twice(key, stored) { try await slice(key, stored, range) }
    }
  }

  private func slice(
    _ key: ObjectKey, _ stored: ObjectKey, _ range: Range<UInt64>
  ) async throws -> ObjectSlice {
    let sealed = SealedObject.sealedRange(range)
    async let body = base.slice(stored, sealed)
    let sealer: FrameSealer
    if let known = opened(key) {
      sealer = known.sealer
    } else {
      let head = try await base.slice(stored, 0..<SealedObject.headerSize)
      sealer = try await open(head.bytes[...], of: key, stored: stored)
    }
    let found = try await body
    guard found.objectSize == SealedObject.sealedSize(sealer.header.plainSize) else {
      throw ObjectStorageError(
        .damaged, operation: "open sealed object", key: key.name,
        detail: "\(found.objectSize) bytes for \(sealer.header.plainSize) plain ones")
    }
    let wanted = range.clamped(to: 0..<sealer.header.plainSize)
    guard !wanted.isEmpty else {
      return ObjectSlice(bytes: [], objectSize: sealer.header.plainSize)
    }
    let bytes = try await threads.run {
      try found.bytes.withUnsafeBytes { try plainBytes($0, sealer, wanted) }
    }
    return ObjectSlice(bytes: bytes, objectSize: sealer.header.plainSize)
  }

  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let range = offset..<offset + UInt64(buffer.count)
    if let known = opened(key), range.upperBound <= known.sealer.header.plainSize, !range.isEmpty {
      do {
        return try read(known, range, into: buffer)
      } catch let error as ObjectStorageError where error.code == .damaged {
        // As in `slice`: once more, below.
      }
    }
    let bytes = try waitFor { try await self.get(key, range: range) }
    if !bytes.isEmpty { buffer.copyBytes(from: bytes) }
  }

  /// On this thread alone: the object's header is known.
  private func read(
    _ object: Opened, _ range: Range<UInt64>, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let sealer = object.sealer
    let whole = SealedObject.sealedRange(range)
    let end = min(whole.upperBound, SealedObject.sealedSize(sealer.header.plainSize))
    let count = Int(end - whole.lowerBound)
    let bytes = try withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) {
      let target = UnsafeMutableRawBufferPointer(rebasing: $0[..<count])
      try base.read(object.stored, at: whole.lowerBound, into: target)
      return try plainBytes(UnsafeRawBufferPointer(target), sealer, range)
    }
    buffer.copyBytes(from: bytes)
  }
}

/// The bytes of a plain range from the frames that hold it.
private func plainBytes(
  _ sealed: UnsafeRawBufferPointer, _ sealer: FrameSealer, _ range: Range<UInt64>
) throws -> [UInt8] {
  let first = range.lowerBound / SealedObject.frameSize
  let plain = try sealer.open(sealed, firstFrame: first)
  let start = Int(range.lowerBound - first * SealedObject.frameSize)
  guard plain.count >= start + range.count else {
    throw ObjectStorageError(
      .damaged, operation: "open sealed object", key: "", detail: "frames are missing")
  }
  return Array(plain[start..<start + range.count])
}
