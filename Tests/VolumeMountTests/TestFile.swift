import DurableIO
import Glibc

/// A system call that failed in a test.
struct CallError: Error, Equatable, CustomStringConvertible {
  var call: String
  var code: Int32
  var description: String { "\(call): \(String(cString: strerror(code)))" }
}

@discardableResult
func check(_ call: String, _ result: Int) throws -> Int {
  guard result >= 0 else { throw CallError(call: call, code: errno) }
  return result
}

@discardableResult
func check(_ call: String, _ result: Int32) throws -> Int32 {
  guard result >= 0 else { throw CallError(call: call, code: errno) }
  return result
}

/// The error number that `body` fails with; 0 if it does not, -1 if no system call failed.
func code(_ body: () throws -> Void) -> Int32 {
  do {
    try body()
    return 0
  } catch {
    return (error as? CallError)?.code ?? -1
  }
}

/// An open file, by plain system calls, closed with the last reference.
final class TestFile {
  let descriptor: Int32

  init(_ path: String, _ flags: Int32 = O_RDWR | O_CREAT, mode: mode_t = 0o600) throws {
    descriptor = try check("open \(path)", open(path, flags | O_CLOEXEC, mode))
  }

  deinit { close(descriptor) }

  func write(_ bytes: [UInt8], at offset: Int) throws {
    let count = try check("pwrite", pwrite(descriptor, bytes, bytes.count, offset))
    guard count == bytes.count else { throw CallError(call: "pwrite: short", code: EIO) }
  }

  func read(_ count: Int, at offset: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    var got = 0
    while got < count {
      let more = try bytes.withUnsafeMutableBytes {
        try check("pread", pread(descriptor, $0.baseAddress! + got, count - got, offset + got))
      }
      if more == 0 { break }
      got += more
    }
    return Array(bytes[..<got])
  }

  func truncate(_ size: Int) throws { try check("ftruncate", ftruncate(descriptor, size)) }
  func sync() throws { try check("fsync", fsync(descriptor)) }
  /// Has the kernel begin to write its dirty pages: `sync_file_range(2)`, which Glibc's module does not show.
  func send() throws {
    typealias Call = @convention(c) (Int32, Int64, Int64, UInt32) -> Int32
    let call = unsafeBitCast(dlsym(nil, "sync_file_range"), to: Call.self)
    try check("sync_file_range", call(descriptor, 0, 0, 2))
  }
  func end() throws -> Int { try check("lseek", lseek(descriptor, 0, SEEK_END)) }

  func status() throws -> stat {
    var status = stat()
    try check("fstat", fstat(descriptor, &status))
    return status
  }

  func allocate(_ offset: Int, _ count: Int) throws {
    let code = posix_fallocate(descriptor, offset, count)
    guard code == 0 else { throw CallError(call: "posix_fallocate", code: code) }
  }
}

func status(_ path: String) throws -> stat {
  var status = stat()
  try check("lstat \(path)", lstat(path, &status))
  return status
}

/// Names in a directory, sorted, without the two that are always there.
func names(_ path: String) throws -> [String] {
  guard let directory = opendir(path) else { throw CallError(call: "opendir", code: errno) }
  defer { closedir(directory) }
  var found: [String] = []
  while let entry = readdir(directory) {
    let name = entry.entryName
    if name != ".", name != ".." { found.append(name) }
  }
  return found.sorted()
}

/// Bytes that differ from place to place and from seed to seed.
func pattern(_ seed: Int, _ count: Int) -> [UInt8] {
  var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 | 1
  return (0..<count).map { _ in
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}

/// `renameat2(2)`, which Glibc's module does not show. Returns the error number, 0 for success.
func renameat2(_ directory: String, _ from: String, _ to: String, noReplace: Bool) -> Int32 {
  typealias Call =
    @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
  let call = unsafeBitCast(dlsym(nil, "renameat2"), to: Call.self)
  let result = call(
    AT_FDCWD, "\(directory)/\(from)", AT_FDCWD, "\(directory)/\(to)", noReplace ? 1 : 0)
  return result == 0 ? 0 : errno
}
