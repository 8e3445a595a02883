import DurableIO
import Foundation
import Volume

/// Copies a stopped cluster's directory into an empty volume.
///
/// `pg_wal` becomes the link that every volume has; what belongs to a running server is left out.
struct DirectoryImport {
  let volume: Volume
  private static let transferSize = 1 << 20

  /// - Parameter path: the data directory. Blocks the thread; the volume is not synced.
  func run(from path: String) throws {
    try copy(directory: path, below: "", to: .root)
    _ = try volume.makeSymbolicLink(
      "pg_wal", in: .root, target: LineDirectory.walLinkTarget)
  }

  private func copy(directory: String, below prefix: String, to parent: FileID) throws {
    let files = FileManager.default
    for name in try files.contentsOfDirectory(atPath: directory).sorted() {
      let path = prefix.isEmpty ? name : "\(prefix)/\(name)"
      guard path != "pg_wal" else { continue }
      var status = stat()
      guard lstat("\(directory)/\(name)", &status) == 0 else {
        throw FileError(operation: "import cluster", path: "\(directory)/\(name)", code: errno)
      }
      let mode = UInt16(status.st_mode & 0o777)
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        let made = try volume.makeDirectory(name, in: parent, mode: mode)
        try copy(directory: "\(directory)/\(name)", below: path, to: made.id)
      case S_IFREG:
        guard !fileClass(path: path, kind: .regular).isOutsideHistory else { continue }
        let made = try volume.create(name, in: parent, mode: mode)
        try copy(file: "\(directory)/\(name)", to: made.id)
      default:
        throw ComputeError(
          .environment, "import cluster: '\(path)' is neither file nor directory",
          hint: "tablespaces outside the data directory are not supported")
      }
    }
  }

  private func copy(file path: String, to id: FileID) throws {
    let source = try SystemFileSystem().open(path, .read, operation: "import cluster")
    defer { source.close() }
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.transferSize, alignment: 4096)
    defer { buffer.deallocate() }
    var offset: UInt64 = 0
    while true {
      let count = try source.read(into: buffer, at: offset, operation: "import cluster")
      guard count > 0 else { return }
      try volume.write(id, at: offset, UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      offset += UInt64(count)
    }
  }
}
