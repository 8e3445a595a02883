import DurableIO
import History
import Synchronization
import Volume

/// Pages that were made once, kept in a local file.
///
/// State: a page is found only after it was written whole. Not durable: what is lost is made again.
/// Concurrency: any thread; blocks on the file.
final class MadePages: Sendable {
  private struct Slots {
    var slots: [BlockAddress: UInt32] = [:]
    var next: UInt32 = 0
  }

  private let file: any OpenFile
  private let fileSystem: any FileSystem
  private let directory: String
  private let slots = Mutex(Slots())

  /// Room that is left to others: pages that can be made again never fill a disk.
  static let reserve: UInt64 = 2 << 30

  /// Makes the file and takes its name away: it goes with the process.
  init(path: String, fileSystem: any FileSystem) throws {
    self.fileSystem = fileSystem
    directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    file = try fileSystem.open(path, .createReadWrite, operation: "keep made pages")
    try file.truncate(to: 0, operation: "keep made pages")
    try fileSystem.unlink(path, operation: "keep made pages")
  }

  var count: Int { slots.withLock { $0.slots.count } }

  func holds(_ address: BlockAddress) -> Bool { slots.withLock { $0.slots[address] != nil } }

  /// Copies a page; false where it has not been made.
  func copy(_ address: BlockAddress, into target: UnsafeMutableRawBufferPointer) throws -> Bool {
    guard let slot = slots.withLock({ $0.slots[address] }) else { return false }
    let count = try file.read(
      into: target, at: UInt64(slot) * UInt64(blockSize), operation: "read made page")
    guard count == blockSize else {
      throw ComputeError(.environment, "read made page: '\(file.path)' ends at slot \(slot)")
    }
    return true
  }

  /// Keeps pages in one write; those that are there stay as they are, since both are the same.
  /// - Parameter pages: one for each address, one behind the other.
  func keep(_ addresses: [BlockAddress], _ pages: UnsafeRawBufferPointer) throws {
    precondition(pages.count == addresses.count * blockSize)
    let first: UInt32? = slots.withLock { held in
      guard addresses.contains(where: { held.slots[$0] == nil }) else { return nil }
      defer { held.next += UInt32(addresses.count) }
      return held.next
    }
    guard let first else { return }
    try file.write(pages, at: UInt64(first) * UInt64(blockSize), operation: "keep made pages")
    slots.withLock { held in
      for (index, address) in addresses.enumerated() where held.slots[address] == nil {
        held.slots[address] = first + UInt32(index)
      }
    }
  }

  /// Whether the disk has more room than ``reserve``.
  func hasRoom() throws -> Bool {
    try fileSystem.freeBytes(directory, operation: "keep made pages") > MadePages.reserve
  }

  /// As ``keep(_:_:)``, except that a full disk is no obstacle: whoever wants the pages again makes them again.
  func keepIfThereIsRoom(_ addresses: [BlockAddress], _ pages: UnsafeRawBufferPointer) throws {
    do {
      guard try hasRoom() else { return }
      try keep(addresses, pages)
    } catch let error as FileError where error.isDiskFull {
      // Kept are only those of before.
    }
  }
}
