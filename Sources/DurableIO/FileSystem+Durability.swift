extension FileSystem {
  /// Makes `path` hold exactly `bytes`, durably, or leaves what was there.
  ///
  /// Written to `path` + `.new`, synced, renamed over `path`, directory synced. A crash or throw
  /// at any step leaves the
  /// old or the new content under `path`; a leftover `.new` is overwritten next time.
  public func replaceFile(
    _ path: String, with bytes: UnsafeRawBufferPointer, operation: StaticString
  ) throws {
    let temporary = path + ".new"
    let file = try open(temporary, .createReadWrite, operation: operation)
    defer { file.close() }
    try file.truncate(to: 0, operation: operation)
    try file.write(bytes, at: 0, operation: operation)
    try file.sync(operation: operation)
    try rename(temporary, to: path, operation: operation)
    try syncDirectory(parentDirectory(of: path), operation: operation)
  }

  /// As ``replaceFile(_:with:operation:)-(_,UnsafeRawBufferPointer,_)`` for an array.
  public func replaceFile(_ path: String, with bytes: [UInt8], operation: StaticString) throws {
    try bytes.withUnsafeBytes { try replaceFile(path, with: $0, operation: operation) }
  }

  /// Creates a directory and its missing parents; all their names are durable on return.
  ///
  /// Of what existed before, only the lowest directory's name is made durable: whoever made it may
  /// have been cut off before that.
  public func makeDurableDirectory(_ path: String, operation: StaticString) throws {
    var top = path
    while parentDirectory(of: top) != "/",
      try status(parentDirectory(of: top), operation: operation) == nil
    {
      top = parentDirectory(of: top)
    }
    try makeDirectory(path, operation: operation)
    try syncNames(from: parentDirectory(of: path), upTo: parentDirectory(of: top), operation)
  }

  /// Makes the names in a directory and in those above it durable, up to `root`, which counts.
  ///
  /// - Precondition: `root` is `directory` or lies above it.
  public func syncNames(from directory: String, upTo root: String, _ operation: StaticString) throws
  {
    var path = directory
    try syncDirectory(path, operation: operation)
    while path != root, path != "/" {
      path = parentDirectory(of: path)
      try syncDirectory(path, operation: operation)
    }
  }

  /// All bytes of a file.
  public func readFile(_ path: String, operation: StaticString) throws -> [UInt8] {
    let file = try open(path, .read, operation: operation)
    defer { file.close() }
    let size = Int(try file.size(operation: operation))
    return try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: size)
      count = try file.read(into: target, at: 0, operation: operation)
    }
  }
}

/// The part of an absolute path above its last component; `/` at the top.
public func parentDirectory(of path: String) -> String {
  guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return "/" }
  return String(path[..<slash])
}
