import Foundation

/// A directory that is gone when the closure returns, even when it throws.
///
/// Made below `EXZO_TEST_DIR` or `/tmp`, mode 0755 so that the `postgres` user can pass through.
public func withTemporaryDirectory<Result>(
  _ body: (String) async throws -> Result
) async throws -> Result {
  let root = ProcessInfo.processInfo.environment["EXZO_TEST_DIR"] ?? "/tmp"
  let path = "\(root)/exzo-test-\(UUID().uuidString.lowercased().prefix(13))"
  try FileManager.default.createDirectory(
    atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
  do {
    let result = try await body(path)
    try await remove(path)
    return result
  } catch {
    // The first error is the one to report; a leftover directory is not worth hiding it.
    try? await remove(path)
    throw error
  }
}

/// A server that is on its way down still removes files of its own below the directory.
private func remove(_ path: String) async throws {
  for _ in 1...100 {
    do { return try FileManager.default.removeItem(atPath: path) } catch {
      guard FileManager.default.fileExists(atPath: path) else { return }
      try await Task.sleep(for: .milliseconds(50))
    }
  }
  try FileManager.default.removeItem(atPath: path)
}
