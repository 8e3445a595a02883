import Foundation
import Logging
import TestSupport
import Testing
import Volume
import VolumeMount

/// Where a claim about files is checked.
enum Place: CaseIterable, Sendable {
  case plainDirectory
  case mountedVolume
  /// Whose writes the kernel keeps for a while.
  case cachedVolume

  /// Gives `body` an empty directory; nothing is left behind, even when it throws.
  func with(_ body: (String) async throws -> Void) async throws {
    switch self {
    case .plainDirectory: try await withTemporaryDirectory(body)
    case .mountedVolume: try await withMountedVolume { try await body($0.path) }
    case .cachedVolume:
      try await withMountedVolume(cachesWrites: true) { try await body($0.path) }
    }
  }
}

let canMount = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0
let mountNeeds: Comment =
  "needs root and /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"

/// Mounts a fresh volume for `body`; unmounts and removes it even when `body` throws.
func withMountedVolume(
  ownerUID: UInt32 = getuid(), cachesWrites: Bool = false,
  _ body: (MountSession) async throws -> Void
) async throws {
  try await withTemporaryDirectory { directory in
    let mounted = try MountedVolume(
      in: directory, ownerUID: ownerUID, cachesWrites: cachesWrites)
    do {
      try await body(mounted.session)
    } catch {
      // The first error is the one to report.
      try? mounted.end()
      throw error
    }
    try mounted.end()
  }
}

/// A fresh volume and its mount below a directory.
struct MountedVolume {
  let volume: Volume
  let session: MountSession

  /// - Parameter isWhole: of a page where the kernel caches writes: all its bytes are the same.
  init(
    in directory: String, ownerUID: UInt32 = getuid(), cachesWrites: Bool = false,
    isWhole: @escaping WholeBlockCheck = { page, _ in page.allSatisfy { $0 == page[0] } },
    onLostWrite: (@Sendable (FileID, any Error) -> Void)? = nil
  ) throws {
    let path = "\(directory)/mount"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    volume = try Volume.open(
      VolumeConfiguration(directory: "\(directory)/volume", classification: testFileClass))
    var options = MountOptions(logger: Logger(label: "test"))
    options.ownerUID = ownerUID
    options.cachesWrites = cachesWrites
    options.onLostWrite = onLostWrite
    if cachesWrites { volume.holdBack(until: isWhole) }
    session = try MountSession.mount(volume, at: path, options: options)
  }

  func end() throws {
    try session.unmount(grace: .seconds(1))
    try volume.close()
  }
}

/// Names that begin with `scratch` are outside history, names that begin with `pages` have atomic
/// blocks.
@Sendable private func testFileClass(_ path: String, _ kind: FileKind) -> FileClass {
  let name = path.split(separator: "/").last ?? ""
  if name.hasPrefix("scratch") { return .outsideHistory }
  return name.hasPrefix("pages")
    ? FileClass(hasAtomicBlocks: true, firstBlock: 0) : .persistent
}
