import Glibc

/// One read through the cache: what the disk had, and what is still to be fetched.
struct CachedRead: Sendable {
  let identity: CacheIdentity
  private let range: Range<UInt64>
  private let blocks: Range<UInt64>
  private var bytes: [UInt8]
  /// By block of the range: whether its bytes are there, or lie after the object's end.
  private var isThere: [Bool]
  private var objectSize: UInt64?
  private(set) var hits: UInt64 = 0
  private(set) var misses: UInt64 = 0

  /// The most that is fetched at once.
  private static let longestFetch: UInt64 = 8 << 20

  /// - Parameter range: not empty.
  init(_ key: ObjectKey, _ range: Range<UInt64>) {
    identity = CacheIdentity(key)
    self.range = range
    blocks = CacheSlot.blocks(range)
    bytes = []
    isThere = [Bool](repeating: false, count: blocks.count)
  }

  /// Copies what the disk has of the range.
  mutating func lookUp(in directory: CacheDirectory) {
    guard let file = directory.open(identity, create: false) else { return }
    var slot = [UInt8](repeating: 0, count: CacheSlot.size)
    for number in blocks {
      if let objectSize, number * UInt64(CacheSlot.blockSize) >= objectSize {
        isThere[Int(number - blocks.lowerBound)] = true
        continue
      }
      let count = slot.withUnsafeMutableBytes {
        pread(file.descriptor, $0.baseAddress, $0.count, Int(number) * CacheSlot.size)
      }
      guard count > 0 else { continue }
      slot.withUnsafeBytes { raw in
        let raw = UnsafeRawBufferPointer(rebasing: raw[..<count])
        guard let found = CacheSlot.decode(raw, identity: identity.number, number: number),
          objectSize == nil || objectSize == found.objectSize
        else { return }
        setSize(found.objectSize)
        let start = CacheSlot.headerSize
        copy(
          UnsafeRawBufferPointer(rebasing: raw[start..<start + found.length]),
          at: number * UInt64(CacheSlot.blockSize))
        isThere[Int(number - blocks.lowerBound)] = true
        hits += 1
      }
    }
  }

  /// The next run of blocks that has to be fetched; may reach beyond the object's end.
  var nextMissing: Range<UInt64>? {
    guard let first = isThere.firstIndex(of: false) else { return nil }
    let end = isThere[first...].firstIndex(of: true) ?? isThere.count
    let size = UInt64(CacheSlot.blockSize)
    let start = (blocks.lowerBound + UInt64(first)) * size
    let stop = (blocks.lowerBound + UInt64(end)) * size
    return start..<min(stop, start + CachedRead.longestFetch)
  }

  /// What to fetch for ``nextMissing``: more than that where its neighbourhood is read piece by piece.
  func fetch(_ missing: Range<UInt64>, _ neighbourhoods: Neighbourhoods) -> Range<UInt64> {
    let around = neighbourhoods.around(missing, of: identity)
    guard let objectSize else { return around }
    return around.lowerBound..<max(missing.upperBound, min(around.upperBound, objectSize))
  }

  /// - Parameter offset: of the slice, a block's beginning.
  /// - Throws: ``ObjectStorageError`` `.unavailable` where the store gave less than there is.
  mutating func take(
    _ slice: ObjectSlice, of fetched: Range<UInt64>, key: ObjectKey
  ) throws(ObjectStorageError) {
    let wanted = fetched.clamped(to: 0..<slice.objectSize)
    guard slice.bytes.count >= wanted.count else {
      throw ObjectStorageError(
        .unavailable, operation: "get object", key: key.name,
        detail: "\(slice.bytes.count) bytes for \(wanted) of \(slice.objectSize)")
    }
    take(slice, at: fetched.lowerBound)
  }

  private mutating func take(_ slice: ObjectSlice, at offset: UInt64) {
    if let objectSize, objectSize != slice.objectSize {
      // Another object has come under the key: nothing of the former one is of use.
      isThere = isThere.map { _ in false }
    }
    setSize(slice.objectSize)
    slice.bytes.withUnsafeBytes { copy($0, at: offset) }
    let fetched = CacheSlot.blocks(offset..<offset + UInt64(max(slice.bytes.count, 1)))
    for number in fetched.clamped(to: blocks) {
      isThere[Int(number - blocks.lowerBound)] = true
      misses += 1
    }
    for number in blocks where number * UInt64(CacheSlot.blockSize) >= slice.objectSize {
      isThere[Int(number - blocks.lowerBound)] = true
    }
  }

  /// Writes whole blocks of a slice into the cache.
  func store(_ slice: ObjectSlice, at offset: UInt64, in directory: CacheDirectory) {
    guard !slice.bytes.isEmpty, let file = directory.open(identity, create: true) else { return }
    var start = 0
    while start < slice.bytes.count {
      let number = (offset + UInt64(start)) / UInt64(CacheSlot.blockSize)
      let length = CacheSlot.length(number, objectSize: slice.objectSize)
      guard length > 0, start + length <= slice.bytes.count else { return }
      directory.write(
        CacheSlot.encode(
          slice.bytes[start..<start + length], identity: identity.number, number: number,
          objectSize: slice.objectSize), number, to: file)
      start += CacheSlot.blockSize
    }
  }

  /// What the range holds, once nothing is missing.
  var slice: ObjectSlice { ObjectSlice(bytes: bytes, objectSize: objectSize ?? 0) }

  private mutating func setSize(_ size: UInt64) {
    let count = range.clamped(to: 0..<size).count
    if objectSize == size, bytes.count == count { return }
    objectSize = size
    bytes = [UInt8](repeating: 0, count: count)
  }

  private mutating func copy(_ source: UnsafeRawBufferPointer, at offset: UInt64) {
    let wanted = range.lowerBound..<range.lowerBound + UInt64(bytes.count)
    let common = wanted.clamped(to: offset..<offset + UInt64(source.count))
    guard !common.isEmpty else { return }
    let from = Int(common.lowerBound - offset)
    bytes.withUnsafeMutableBytes {
      UnsafeMutableRawBufferPointer(
        rebasing: $0[Int(common.lowerBound - range.lowerBound)...]
      ).copyMemory(from: UnsafeRawBufferPointer(rebasing: source[from..<from + common.count]))
    }
  }
}
