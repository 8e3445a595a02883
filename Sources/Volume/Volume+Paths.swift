import DurableIO
import Glibc

/// Whole files by path, for what patches a data directory before Postgres runs on it.
extension Volume {
  /// All bytes of a regular file.
  public func readFile(_ path: String) throws -> [UInt8] {
    let found = try find(path)
    let size = Int(found.size)
    return try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = try read(found.id, at: 0, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  /// Makes a regular file hold exactly `bytes`; created with mode 0600 where it is absent, in an
  /// existing directory.
  ///
  /// In a file with atomic blocks the length must be a multiple of ``blockSize``. Not atomic as a
  /// whole; durable after
  /// ``sync()``.
  @discardableResult
  public func writeFile(_ path: String, _ bytes: [UInt8]) throws -> FileID {
    let (directory, name) = try split(path)
    let file: FileID
    if let found = try list(directory).first(where: { $0.name == name }) {
      file = found.id
      try truncate(file, to: 0)
    } else {
      file = try create(name, in: directory, mode: 0o600).id
    }
    try bytes.withUnsafeBytes { try write(file, at: 0, $0) }
    return file
  }

  /// Removes a file's name, or a directory and everything below it.
  public func removeAll(_ path: String) throws {
    let found = try find(path)
    if found.kind == .directory {
      for entry in try list(found.id) { try removeAll("\(path)/\(entry.name)") }
    }
    let (directory, name) = try split(path)
    if found.kind == .directory {
      try removeDirectory(name, in: directory)
    } else {
      try unlink(name, in: directory)
    }
  }

  private func split(_ path: String) throws -> (FileID, String) {
    let parts = path.split(separator: "/")
    guard let name = parts.last else {
      throw VolumeError(.invalidArgument, "use '\(path)' as a file's path")
    }
    return (try find(parts.dropLast().joined(separator: "/")).id, String(name))
  }

  /// Copies the tree, without what lives outside history, into a new ordinary directory: the way
  /// out of a volume.
  ///
  /// Blocks of zeros become holes. Synced on return. On throw the directory holds a part.
  public func exportTree(to directory: String) throws {
    try VolumeError.wrapping {
      try files.makeDirectory(directory, operation: "export volume")
      try export(.root, to: directory)
      try files.syncDirectory(directory, operation: "export volume")
    }
  }

  private func export(_ id: FileID, to path: String) throws {
    for entry in try list(id) {
      if withState({ $0.nodes[entry.id]?.isScratch ?? true }) { continue }
      let target = "\(path)/\(entry.name)"
      let attributes = try attributes(of: entry.id)
      switch entry.kind {
      case .directory:
        try files.makeDirectory(target, operation: "export volume")
        try export(entry.id, to: target)
        try files.syncDirectory(target, operation: "export volume")
      case .symbolicLink:
        guard symlink(try readLink(entry.id), target) == 0 else {
          throw FileError(operation: "export volume", path: target, code: errno)
        }
        continue
      case .regular: try exportFile(entry.id, attributes.size, to: target)
      }
      guard chmod(target, mode_t(attributes.mode)) == 0 else {
        throw FileError(operation: "export volume", path: target, code: errno)
      }
    }
  }

  private func exportFile(_ id: FileID, _ size: UInt64, to path: String) throws {
    let file = try files.open(path, .createNew, operation: "export volume")
    defer { file.close() }
    try file.truncate(to: size, operation: "export volume")
    var image = [UInt8](repeating: 0, count: 1 << 20)
    var offset: UInt64 = 0
    while offset < size {
      let count = try image.withUnsafeMutableBytes { try read(id, at: offset, into: $0) }
      try image.withUnsafeBytes { image in
        for start in stride(from: 0, to: count, by: blockSize) {
          let block = UnsafeRawBufferPointer(
            rebasing: image[start..<min(start + blockSize, count)])
          guard block.contains(where: { $0 != 0 }) else { continue }
          try file.write(block, at: offset + UInt64(start), operation: "export volume")
        }
      }
      offset += UInt64(count)
    }
    try file.sync(operation: "export volume")
  }
}
