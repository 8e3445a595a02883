import Glibc
import Synchronization

/// `fallocate(2)`: Glibc's module leaves out what needs `_GNU_SOURCE`. Only integers cross, which
/// Swift and C pass alike.
@_silgen_name("fallocate")
private func fallocate(
  _ descriptor: Int32, _ mode: Int32, _ offset: Int, _ length: Int
) -> Int32
/// `mincore(2)`, for the same reason.
@_silgen_name("mincore")
private func mincore(
  _ start: UnsafeMutableRawPointer, _ length: Int, _ pages: UnsafeMutablePointer<UInt8>
) -> Int32
/// From `<linux/falloc.h>`.
private let keepSize: Int32 = 1
private let punchHoleMode: Int32 = 2

/// An open file of ``SystemFileSystem``.
///
/// *State and invariants.* (1) The descriptor stays open while a call uses it: ``close()`` during
/// a call takes effect when
/// the call ends, so a recycled descriptor number is never written to. (2) Once
/// ``sync(operation:)`` failed, every later
/// one fails with the same code: Linux marks the lost pages clean, so a second `fdatasync` would
/// report false success.
/// *Concurrency.* All calls from any thread.
final class SystemFile: OpenFile {
  let path: String
  private let descriptor: Int32
  /// Twice the number of calls under way, plus 1 once closed.
  private let uses = Atomic<Int>(0)
  /// `errno` of the first failed sync, 0 while there is none.
  private let syncFailure = Atomic<Int32>(0)

  init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { close() }

  func close() {
    if uses.bitwiseOr(1, ordering: .acquiringAndReleasing).oldValue == 0 { Glibc.close(descriptor) }
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, operation: StaticString
  ) throws -> Int {
    try using(operation) {
      var done = 0
      while done < buffer.count {
        let count = pread(
          descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + done)
        if count == 0 { break }
        if count < 0, errno == EINTR { continue }
        if count < 0 { throw failure(operation) }
        done += count
      }
      return done
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, operation: StaticString) throws {
    try using(operation) { try writeAll(bytes, at: offset, operation) }
  }

  func write(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64,
    operation: StaticString
  ) throws {
    try using(operation) {
      var count: Int
      repeat { count = gather(head, body, at: offset) } while count < 0 && errno == EINTR
      if count < 0 { throw failure(operation) }
      if count < head.count {
        try writeAll(.init(rebasing: head[count...]), at: offset + UInt64(count), operation)
        count = head.count
      }
      let written = count - head.count
      try writeAll(.init(rebasing: body[written...]), at: offset + UInt64(count), operation)
    }
  }

  func sync(operation: StaticString) throws {
    try using(operation) {
      let known = syncFailure.load(ordering: .acquiring)
      guard known == 0 else {
        throw FileError(operation: "\(operation)", path: path, code: known)
      }
      // Not repeated on any error, EINTR included: the failed call may have dropped dirty pages.
      guard fdatasync(descriptor) == 0 else {
        let error = failure(operation)
        syncFailure.store(error.code, ordering: .releasing)
        throw error
      }
    }
  }

  func truncate(to size: UInt64, operation: StaticString) throws {
    try using(operation) { try retrying(operation) { ftruncate(descriptor, off_t(size)) } }
  }

  func allocate(_ range: Range<UInt64>, operation: StaticString) throws {
    guard !range.isEmpty else { return }
    try using(operation) {
      try retrying(operation) {
        fallocate(descriptor, 0, off_t(range.lowerBound), off_t(range.count))
      }
    }
  }

  func punchHole(_ range: Range<UInt64>, operation: StaticString) throws {
    guard !range.isEmpty else { return }
    try using(operation) {
      try retrying(operation) {
        fallocate(
          descriptor, punchHoleMode | keepSize, off_t(range.lowerBound),
          off_t(range.count))
      }
    }
  }

  func size(operation: StaticString) throws -> UInt64 {
    try using(operation) {
      var found = stat()
      try retrying(operation) { fstat(descriptor, &found) }
      return UInt64(clamping: found.st_size)
    }
  }

  func isCached(operation: StaticString) throws -> Bool {
    let size = Int(try size(operation: operation))
    guard size > 0 else { return true }
    return try using(operation) {
      let memory = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0)
      guard let memory, memory != MAP_FAILED else { throw failure(operation) }
      defer { munmap(memory, size) }
      let pageSize = sysconf(Int32(_SC_PAGESIZE))
      var pages = [UInt8](repeating: 0, count: (size + pageSize - 1) / pageSize)
      guard mincore(memory, size, &pages) == 0 else { throw failure(operation) }
      return pages.allSatisfy { $0 & 1 == 1 }
    }
  }

  /// Runs a call with the descriptor held open.
  private func using<Result>(
    _ operation: StaticString, _ body: () throws -> Result
  ) throws -> Result {
    let before = uses.add(2, ordering: .acquiring).oldValue
    defer {
      // The last user of a closed file closes the descriptor; 1 marks closed and unused.
      if uses.subtract(2, ordering: .acquiringAndReleasing).newValue == 1, before & 1 == 0 {
        Glibc.close(descriptor)
      }
    }
    guard before & 1 == 0 else {
      throw FileError(operation: "\(operation)", path: path, code: EBADF)
    }
    return try body()
  }

  private func writeAll(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, _ operation: StaticString
  ) throws {
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
      if count < 0, errno == EINTR { continue }
      if count < 0 { throw failure(operation) }
      done += count
    }
  }

  private func gather(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64
  ) -> Int {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { parts in
      parts[0] = iovec(
        iov_base: UnsafeMutableRawPointer(mutating: head.baseAddress), iov_len: head.count)
      parts[1] = iovec(
        iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count)
      return pwritev(descriptor, parts.baseAddress!, 2, off_t(offset))
    }
  }

  private func retrying(_ operation: StaticString, _ call: () -> Int32) throws {
    while call() != 0 {
      if errno != EINTR { throw failure(operation) }
    }
  }

  private func failure(_ operation: StaticString) -> FileError {
    FileError(operation: "\(operation)", path: path, code: errno)
  }
}
