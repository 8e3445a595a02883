import DurableIO

/// Whether the object store holds everything that a stopped compute ever acknowledged.
///
/// Set last in a clean stop and removed before a server starts; durable on return of either.
struct DrainedMarker {
  private let directory: LineDirectory
  private let path: String
  private let files = SystemFileSystem()

  /// - Parameter following: of a line that follows a server elsewhere. Its name is one of its own: earlier versions also
  ///   marked those that had WAL left.
  init(_ directory: LineDirectory, following: Bool = false) {
    self.directory = directory
    path = following ? directory.followedDrainedMarker : directory.drainedMarker
  }

  func set() throws {
    let file = try files.open(
      path, .createReadWrite, operation: "mark line drained")
    try file.sync(operation: "mark line drained")
    try files.syncDirectory(directory.path, operation: "mark line drained")
  }

  func clear() throws {
    guard try files.status(path, operation: "mark line in use") != nil else {
      return
    }
    try files.unlink(path, operation: "mark line in use")
    try files.syncDirectory(directory.path, operation: "mark line in use")
  }
}
