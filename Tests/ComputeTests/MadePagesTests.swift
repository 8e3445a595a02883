import DurableIO
import Glibc
import History
import TestSupport
import Testing
import Volume

@testable import Compute

/// Pages that were made once.
@Suite struct MadePagesTests {
  private let addresses = [3, 4].map { BlockAddress(file: FileID(9), block: $0) }

  private func keep(_ byte: UInt8, in pages: MadePages, optional: Bool) throws {
    try [UInt8](repeating: byte, count: 2 * blockSize).withUnsafeBytes {
      try optional ? pages.keepIfThereIsRoom(addresses, $0) : pages.keep(addresses, $0)
    }
  }

  private func page(_ address: BlockAddress, of pages: MadePages) throws -> [UInt8]? {
    var page = [UInt8](repeating: 0, count: blockSize)
    let isThere = try page.withUnsafeMutableBytes { try pages.copy(address, into: $0) }
    return isThere ? page : nil
  }

  /// A reader gets its page all the same; pages that must be found again are an error.
  @Test func aFullDiskHidesNoPageFromAReader() throws {
    let disk = SimulatedFileSystem()
    try disk.makeDirectory("/s", operation: "test")
    let pages = try MadePages(path: "/s/made", fileSystem: disk)
    disk.failCall(1, code: ENOSPC, sticky: true)
    try keep(1, in: pages, optional: true)
    #expect(throws: FileError.self) { try keep(1, in: pages, optional: false) }
    #expect(pages.count == 0)
    disk.stopFailing()
    for address in addresses { #expect(try page(address, of: pages) == nil) }
    disk.failCall(1, code: EIO)
    #expect(throws: FileError.self) { try keep(1, in: pages, optional: true) }

    try keep(2, in: pages, optional: true)
    #expect(pages.count == 2)
    for address in addresses {
      #expect(try page(address, of: pages) == [UInt8](repeating: 2, count: blockSize))
    }
  }
}
