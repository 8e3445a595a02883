import DurableIO

/// Whether the object store holds everything that a stopped compute ever acknowledged.
///
/// Set last in a clean stop and removed before a server starts; durable on return of either.
struct DrainedMarker {
  private let directory: LineDirectory
  private let files = SystemFileSystem()

  init(_ directory: LineDirectory) { self.directory = directory }

  func set() throws {
    let file = try files.open(
      directory.drainedMarker, .createReadWrite, operation: "mark line drained")
    try file.sync(operation: "mark line drained")
    try files.syncDirectory(directory.path, operation: "mark line drained")
  }

  func clear() throws {
    guard try files.status(directory.drainedMarker, operation: "mark line in use") != nil else {
      return
    }
    try files.unlink(directory.drainedMarker, operation: "mark line in use")
    try files.syncDirectory(directory.path, operation: "mark line in use")
  }
}
