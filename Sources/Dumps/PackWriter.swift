import CCRC32C
import ControlPlane
import DurableIO
import ObjectStorage

/// Writes files that grow beside each other as packs of one size into an object store.
///
/// Memory is bounded by two packs: one that fills, one that is put. Blocks its thread while a pack is
/// full and the one before it is not stored yet.
final class PackWriter {
  private let store: any ObjectStore
  private let dump: String
  /// Of this writer alone; 16 hexadecimal digits.
  let attempt = String(UInt64.random(in: 1 << 60 ... .max), radix: 16)
  private var buffer: [UInt8] = []
  private var pending: Task<Void, any Error>?
  private(set) var packs: [StoredManifest.Pack] = []
  private(set) var files: [StoredManifest.File] = []
  private(set) var bytes = 0

  init(_ store: any ObjectStore, dump: String) {
    self.store = store
    self.dump = dump
    buffer.reserveCapacity(StoredManifest.packSize)
  }

  /// Begins a file and returns its number.
  func add(file name: String) -> Int {
    files.append(StoredManifest.File(name: name, extents: []))
    return files.count - 1
  }

  func append(_ bytes: UnsafeRawBufferPointer, to file: Int) throws {
    var rest = bytes
    while !rest.isEmpty {
      let count = min(rest.count, StoredManifest.packSize - buffer.count)
      note(count, file)
      buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest[..<count]))
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      if buffer.count == StoredManifest.packSize { try send() }
    }
  }

  private func note(_ count: Int, _ file: Int) {
    bytes += count
    let extent = StoredManifest.Extent(pack: packs.count, offset: buffer.count, length: count)
    if let last = files[file].extents.last, last.pack == extent.pack,
      last.offset + last.length == extent.offset
    {
      files[file].extents[files[file].extents.count - 1].length += count
    } else {
      files[file].extents.append(extent)
    }
  }

  private func send() throws {
    try wait()
    let pack = buffer
    let key = StoredManifest.key(dump, pack: packs.count, attempt: attempt)
    packs.append(StoredManifest.Pack(size: pack.count, sums: Self.sums(pack)))
    buffer.removeAll(keepingCapacity: true)
    pending = Task { [store] in try await store.put(key, .bytes(pack)) }
  }

  /// Waits for the pack that is under way.
  private func wait() throws {
    guard let task = pending else { return }
    pending = nil
    try waitFor { try await task.value }
  }

  /// Stores what is left.
  func finish() throws {
    if !buffer.isEmpty { try send() }
    try wait()
  }

  /// Lets a put that is under way come to its end, whatever it is, so that nothing is written after
  /// a removal.
  func abandon() {
    guard let task = pending else { return }
    pending = nil
    // The error that led here is the one to report.
    _ = try? waitFor { _ = await task.result }
  }

  static func sums(_ pack: [UInt8]) -> [UInt32] {
    pack.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: StoredManifest.block).map { start in
        let count = min(StoredManifest.block, bytes.count - start)
        return exzo_crc32c(0, bytes.baseAddress! + start, count)
      }
    }
  }
}
