import DurableIO
import Foundation
import PostgresFormat
import Synchronization
import Volume

/// The copy of a source's data directory, as the first epoch of its line.
///
/// On disk: one file for each of the tree, named by its identity, so that no name of the source's ever becomes
/// one of ours.
final class BackupImage: SealedEpoch {
  let number: UInt64 = 1
  let tree: FileTreeSnapshot
  let files: [EpochFile]
  private let directory: String
  private let fileSystem: any FileSystem
  private let opened = Mutex<(id: FileID, file: any OpenFile)?>(nil)

  init(directory: String, tree: FileTreeSnapshot, fileSystem: any FileSystem) {
    self.directory = directory
    self.fileSystem = fileSystem
    self.tree = tree
    files = tree.entries.filter { $0.kind == .regular }.sorted { $0.id < $1.id }.map { entry in
      let blocks = UInt32((entry.size + UInt64(blockSize) - 1) / UInt64(blockSize))
      return EpochFile(id: entry.id, floor: 0, blocks: Array(0..<blocks))
    }
  }

  static func path(_ directory: String, _ id: FileID) -> String { "\(directory)/\(id.rawValue)" }

  /// The last block of a file ends with zeros.
  func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let open = try self.open(file)
    let count = try open.read(
      into: buffer, at: UInt64(block) * UInt64(blockSize), operation: "read the source's backup")
    if count < buffer.count {
      UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).initializeMemory(
        as: UInt8.self, repeating: 0)
    }
  }

  /// Blocks are read in order: one file is open at a time.
  private func open(_ id: FileID) throws -> any OpenFile {
    try opened.withLock { opened in
      if let opened, opened.id == id { return opened.file }
      opened?.file.close()
      opened = nil
      let file = try fileSystem.open(
        Self.path(directory, id), .read, operation: "read the source's backup")
      opened = (id, file)
      return file
    }
  }
}
