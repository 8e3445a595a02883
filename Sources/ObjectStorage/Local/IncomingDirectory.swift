import DurableIO
import Glibc
import Synchronization

/// Where a local store writes objects before it renames them into place.
struct IncomingDirectory: Sendable {
  private let path: String
  private let fileSystem: any FileSystem
  /// Process id and a random number: two stores opened by one process differ.
  private let owner: String
  private let counter = Counter()

  private final class Counter: Sendable {
    let value = Atomic<UInt64>(0)
  }

  /// Creates the directory where there is none and removes what ended processes left in it.
  init(_ path: String, fileSystem: any FileSystem) throws {
    self.path = path
    self.fileSystem = fileSystem
    owner = "\(getpid())-\(String(UInt64.random(in: 0 ... .max), radix: 16))"
    try fileSystem.makeDirectory(path, operation: "open object store")
    for name in try fileSystem.list(path, operation: "open object store")
    where IncomingDirectory.isAbandoned(name) {
      do {
        try fileSystem.unlink("\(path)/\(name)", operation: "remove unfinished object")
      } catch let error as FileError where error.isNotFound {
        continue  // another process has just removed it
      }
    }
  }

  private static func isAbandoned(_ name: String) -> Bool {
    guard let process = Int32(name.prefix { $0 != "-" }), process > 0 else { return false }
    return kill(process, 0) != 0 && errno == ESRCH
  }

  /// Writes a body to a new file, synced, and returns the file's path. On throw no file is left,
  /// as far as it can be removed.
  func write(_ body: ObjectBody) throws -> String {
    let target = nextPath()
    do {
      switch body {
      case .bytes(let bytes):
        try write(to: target) { file in
          try bytes.withUnsafeBytes { try file.write($0, at: 0, operation: "put object") }
        }
      case .file(let source): try bring(source, to: target)
      }
    } catch {
      // The first error is the one to report; a leftover is removed at the next opening.
      try? fileSystem.unlink(target, operation: "put object")
      throw error
    }
    return target
  }

  /// A name that no file has yet.
  func nextPath() -> String {
    let number = counter.value.wrappingAdd(1, ordering: .relaxed).newValue
    return "\(path)/\(owner)-\(number)"
  }

  private func write(to target: String, _ body: (any OpenFile) throws -> Void) throws {
    let file = try fileSystem.open(target, .createNew, operation: "put object")
    defer { file.close() }
    try body(file)
    try file.sync(operation: "put object")
  }

  /// Links the source where both lie on one file system, which costs no bytes; copies it otherwise.
  private func bring(_ path: String, to target: String) throws {
    let source = try fileSystem.open(path, .read, operation: "put object")
    defer { source.close() }
    do {
      try source.sync(operation: "put object")
      try fileSystem.link(path, to: target, operation: "put object")
      return
    } catch let error as FileError where [EXDEV, EPERM, EMLINK, ENOTSUP].contains(error.code) {
      // No links between these places: copy.
    }
    try write(to: target) { file in try copy(source, to: file) }
  }

  private func copy(_ source: any OpenFile, to file: any OpenFile) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var offset: UInt64 = 0
    while true {
      let count = try source.read(into: buffer, at: offset, operation: "put object")
      if count == 0 { return }
      try file.write(
        UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: offset, operation: "put object")
      offset += UInt64(count)
    }
  }
}
