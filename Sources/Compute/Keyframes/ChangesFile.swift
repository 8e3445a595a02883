import DurableIO
import Foundation
import Volume

/// The changes since the newest complete layer, kept beside the volume.
///
/// Crash: replaced whole; where it is missing, damaged or older than the volume's oldest epoch, every local
/// block counts as changed, which costs space and is never wrong.
struct ChangesFile: Sendable {
  let path: String
  let fileSystem: any FileSystem

  func read() throws -> (changes: ChangedBlocks, epoch: UInt64)? {
    guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
    return ChangedBlocks.decode([UInt8](bytes))
  }

  /// On return the file is durable.
  func write(_ changes: ChangedBlocks, epoch: UInt64) throws {
    try fileSystem.replaceFile(
      path, with: changes.encode(epoch: epoch), operation: "write changed blocks")
  }
}
