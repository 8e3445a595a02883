import Foundation
import TestSupport
import VolumeMount

/// A process of its own that mounts a volume: one that can be killed.
final class MountServer: @unchecked Sendable {
  let volumeDirectory: String
  let path: String
  private let options: [String]
  private var process: Process?

  /// Starts serving `directory`/volume at `directory`/`name`.
  /// - Parameters:
  ///   - cachesWrites: the kernel may keep writes; pages have checksums.
  ///   - handsOver: it has the kernel hand them over, again and again.
  init(
    in directory: String, mountedAt name: String = "mount", cachesWrites: Bool = false,
    handsOver: Bool = false
  ) throws {
    options = (cachesWrites ? ["--cached"] : []) + (handsOver ? ["--handing-over"] : [])
    volumeDirectory = "\(directory)/volume"
    path = "\(directory)/\(name)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    try start()
  }

  /// The program beside the test bundle.
  static let program = URL(fileURLWithPath: CommandLine.arguments[0])
    .deletingLastPathComponent().appendingPathComponent("VolumeMounting")

  func start() throws {
    let process = Process()
    process.executableURL = Self.program
    process.arguments = [volumeDirectory, path, "--owner", "postgres"] + options
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    self.process = process
    var text = ""
    while !text.contains("mounted\n") {
      let bytes = output.fileHandleForReading.availableData
      guard !bytes.isEmpty else { throw CallError(call: "server ended: \(text)", code: EIO) }
      text += String(decoding: bytes, as: UTF8.self)
    }
  }

  /// Ends the process as a crash does; the mount stays behind, dead.
  func crash() {
    guard let process else { return }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    self.process = nil
  }

  /// Ends the process as a crash does.
  /// - Returns: whether it was gone within `seconds`; if not, its mount was forced to end, and with it the process.
  func crashes(within seconds: Int) -> Bool {
    guard let process else { return true }
    kill(process.processIdentifier, SIGKILL)
    for _ in 0..<seconds * 100 {
      if !process.isRunning { break }
      usleep(10_000)
    }
    let isGone = !process.isRunning
    if !isGone { umount2(path, Int32(MNT_FORCE)) }
    process.waitUntilExit()
    self.process = nil
    return isGone
  }

  /// Unmounts and ends the process.
  func stop() {
    guard let process else { return }
    process.terminate()
    process.waitUntilExit()
    self.process = nil
  }

  /// Leaves nothing behind, whatever state it was in.
  func end() throws {
    stop()
    try MountPoint.clearDeadMount(at: path)
  }
}

/// Gives `body` a mount served by another process; nothing is left behind, even when it throws.
func withMountServer(
  mountedAt name: String = "mount", cachesWrites: Bool = false,
  _ body: (MountServer, String) async throws -> Void
) async throws {
  try await withTemporaryDirectory { directory in
    let server = try MountServer(in: directory, mountedAt: name, cachesWrites: cachesWrites)
    do {
      try await body(server, directory)
    } catch {
      // The first error is the one to report.
      try? server.end()
      throw error
    }
    try server.end()
  }
}
