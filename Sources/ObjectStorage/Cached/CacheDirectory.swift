import DurableIO
import Glibc
import Synchronization

/// The files of a cache: one sparse file an object, slots at their places.
///
/// ## Concurrency
/// Any thread, any number of processes: a slot is written with one `pwrite`, by all with the same
/// bytes; a torn one fails its checksum. One process at a time makes room, under a lock.
///
/// ## Not durable
/// Nothing is synced. What is lost or damaged is fetched again, so this is the one place that
/// writes files without going through `DurableIO`.
final class CacheDirectory: Sendable {
  let path: String
  let limit: UInt64
  /// Bytes written since room was last made.
  private let added = Atomic<UInt64>(0)
  private let isMakingRoom = Atomic<Bool>(false)

  init(_ path: String, limit: UInt64) throws {
    self.path = path
    self.limit = limit
    for directory in [path] + (0..<256).map({ "\(path)/" + hexadecimal([UInt8($0)]) }) {
      guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
        throw ObjectStorageError(
          .misconfigured, operation: "open cache", key: directory,
          detail: String(cString: strerror(errno)), hint: "name a directory that can be written")
      }
    }
    makeRoom()
  }

  /// A file of the cache, open; closed on deinit.
  final class File: Sendable {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
  }

  func open(_ identity: CacheIdentity, create: Bool) -> File? {
    let name = "\(path)/\(identity.fileName)"
    let descriptor = Glibc.open(name, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0o600)
    guard descriptor >= 0 else { return nil }
    var status = stat()
    // Told from outside (`atime` may be off): when the object was last of use, to a minute.
    if fstat(descriptor, &status) == 0, status.st_mtim.tv_sec + 60 < time(nil) {
      futimens(descriptor, nil)
    }
    return File(descriptor)
  }

  func remove(_ identity: CacheIdentity) { unlink("\(path)/\(identity.fileName)") }

  /// Writes a slot; a failure leaves it out of the cache.
  func write(_ slot: [UInt8], _ number: UInt64, to file: File) {
    let count = pwrite(file.descriptor, slot, slot.count, Int(number) * CacheSlot.size)
    guard count == slot.count else { return }
    let total = added.wrappingAdd(UInt64(count), ordering: .relaxed).newValue
    if total > max(limit / 16, 1 << 20) { makeRoom() }
  }

  // MARK: Room

  private struct Entry {
    var path: String
    var used: Int
    var bytes: UInt64
  }

  /// Removes the objects that were of use longest ago, until a tenth of the limit is free.
  func makeRoom() {
    guard
      isMakingRoom.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    else { return }
    defer { isMakingRoom.store(false, ordering: .releasing) }
    added.store(0, ordering: .relaxed)
    let lock = Glibc.open("\(path)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else { return }
    defer { close(lock) }
    // Another process is at it already.
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { return }
    var entries = self.entries()
    var total = entries.reduce(0) { $0 + $1.bytes }
    guard total > limit else { return }
    entries.sort { $0.used < $1.used }
    for entry in entries where total > limit - limit / 10 {
      if unlink(entry.path) == 0 { total -= entry.bytes }
    }
  }

  /// Bytes of disk that the cache takes.
  var usedBytes: UInt64 { entries().reduce(0) { $0 + $1.bytes } }

  private func entries() -> [Entry] {
    var found: [Entry] = []
    for number in 0..<256 {
      let directory = "\(path)/" + hexadecimal([UInt8(number)])
      guard let stream = opendir(directory) else { continue }
      defer { closedir(stream) }
      while let entry = readdir(stream) {
        let name = entry.entryName
        var status = stat()
        guard !name.hasPrefix("."), lstat("\(directory)/\(name)", &status) == 0 else { continue }
        found.append(
          Entry(
            path: "\(directory)/\(name)", used: status.st_mtim.tv_sec,
            bytes: UInt64(status.st_blocks) * 512))
      }
    }
    return found
  }
}
