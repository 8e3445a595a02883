/// A disk in memory below a directory, unmounted when the closure returns, even when it throws.
///
/// Needs root.
/// - Parameter size: as tmpfs takes it, such as `16m`.
public func withSmallDisk(
  in directory: String, size: String, _ body: (String) async throws -> Void
) async throws {
  let disk = "\(directory)/disk"
  try run(["mkdir", disk])
  try run(["mount", "-t", "tmpfs", "-o", "size=\(size),mode=0711", "exzo-test", disk])
  do {
    try await body(disk)
  } catch {
    // The first error is the one to report.
    _ = try? run(["umount", "-l", disk])
    throw error
  }
  try await unmount(disk)
}

/// A child that another test starts has this process's files open until it is another program.
private func unmount(_ disk: String) async throws {
  for _ in 1...100 {
    if try run(["umount", disk], allowFailure: true).status == 0 { return }
    try await Task.sleep(for: .milliseconds(50))
  }
  try run(["umount", disk])
}
