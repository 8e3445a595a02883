import Glibc

/// Small files that only their owner may read, written whole or not at all.
public enum PrivateFile {
  /// Makes `path` with mode 0600 and `bytes`; an existing file is replaced. Durable on return.
  /// Blocks.
  ///
  /// On throw `path` is what it was. `owner` applies where the process may give files away.
  public static func write(_ bytes: [UInt8], to path: String) throws {
    let temporary = path + ".new"
    _ = unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("create", temporary) }
    do {
      defer { close(descriptor) }
      var written = 0
      while written < bytes.count {
        let count = bytes.withUnsafeBytes {
          Glibc.write(descriptor, $0.baseAddress! + written, bytes.count - written)
        }
        guard count > 0 else { throw failure("write", temporary) }
        written += count
      }
      guard fsync(descriptor) == 0 else { throw failure("sync", temporary) }
    }
    guard rename(temporary, path) == 0 else { throw failure("rename", temporary) }
    try syncDirectory(of: path)
  }

  /// The file's bytes, at most `limit`; `nil` where there is none. Blocks.
  public static func read(_ path: String, limit: Int = 65_536) throws -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw failure("open", path)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
      let count = Glibc.read(descriptor, &buffer, min(buffer.count, limit - bytes.count))
      guard count >= 0 else { throw failure("read", path) }
      if count == 0 { break }
      bytes.append(contentsOf: buffer[..<count])
    }
    return bytes
  }

  /// Makes a rename or creation in the directory that holds `path` durable.
  static func syncDirectory(of path: String) throws {
    let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    let descriptor = open(parent.isEmpty ? "/" : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("open", parent) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw failure("sync", parent) }
  }

  static func failure(_ action: String, _ path: String) -> CatalogError {
    CatalogError(.server, "\(action) '\(path)': \(String(cString: strerror(errno)))")
  }
}
