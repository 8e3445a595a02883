import Foundation
import TestSupport
import Testing
import Volume
import VolumeMount

/// Writers whose memory is taken away while the kernel copies from it, killed at any time: their
/// page writes arrive in pieces, and no page is ever half there.
@Suite(.serialized, .heavy, .timeLimit(.minutes(3)), .enabled(if: canMount, mountNeeds))
struct KilledWriterTests {
  @Test func pagesOfKilledWritersAreWhole() async throws {
    try await withPages { mounted, file, path, directory in
      var random = SeededRandom(seed: 51)
      let kills = Int(ProcessInfo.processInfo.environment["EXZO_WRITER_KILLS"] ?? "") ?? 12
      for number in 0..<kills {
        let writers = try (0..<2).map { try Writer(path, seed: number * 2 + $0, in: directory) }
        for writer in writers { try await writer.waitForWrites() }
        usleep(UInt32(random.pick(0...40_000)))
        for writer in writers { writer.kill() }
        // Through the kernel's cache, and past it.
        try expectWhole(file, "kill \(number)")
        try expectWhole(try mounted.volume.readFile("pages"), "kill \(number), volume")
      }
    }
  }

  /// Half of a page is copied, then the memory ends: the writer is killed with its rest unwritten.
  @Test func theFirstHalfOfAWriteWhoseMemoryEndsIsGoneWithItsWriter() async throws {
    try await withPages { mounted, file, path, directory in
      for length in [4096, 1024, 7168] {
        let before = mounted.volume.statistics.droppedPieces
        let writer = try Writer(path, halting: length, in: directory)
        let written = try await writer.waitForPiece()
        #expect((1..<8192).contains(written), "the kernel wrote \(written) bytes of the page")
        writer.kill()
        try expectWhole(file, "cut at \(length)")
        try expectWhole(try mounted.volume.readFile("pages"), "cut at \(length), volume")
        #expect(mounted.volume.statistics.droppedPieces > before)
      }
    }
  }

  /// The kernel holds their writes and half writes; what is whole is known when it has handed them over.
  @Test func pagesOfKilledWritersAreWholeBehindTheKernelsCache() async throws {
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(seed: 52)
      for number in 0..<8 {
        let mounted = try MountedVolume(in: directory, cachesWrites: true)
        do {
          let path = "\(mounted.session.path)/pages"
          if number == 0 { try writePages(path) }
          let writer =
            try number % 2 == 0
            ? Writer(path, seed: number, in: directory)
            : Writer(path, halting: 1024 * random.pick(1...7), in: "\(directory)")
          if number % 2 == 0 {
            try await writer.waitForWrites()
          } else {
            _ = try await writer.waitForPiece()
          }
          usleep(UInt32(random.pick(0...40_000)))
          writer.kill()
        } catch {
          try? mounted.end()  // the first error is the one to report
          throw error
        }
        try mounted.session.unmount(grace: .seconds(5))
        mounted.volume.dropHeldBack()
        try expectWhole(try mounted.volume.readFile("pages"), "kill \(number)")
        try mounted.volume.close()
        let again = try Volume.open(mounted.volume.configuration)
        try expectWhole(try again.readFile("pages"), "kill \(number), opened anew")
        try again.close()
      }
    }
  }

  @Test func whatWasSyncedThroughTheKernelsCacheIsInTheLog() async throws {
    try await withTemporaryDirectory { directory in
      let mounted = try MountedVolume(in: directory, cachesWrites: true)
      do {
        let file = try TestFile("\(mounted.session.path)/pages")
        for value in 1...20 {
          let page = [UInt8](repeating: UInt8(value), count: 8192)
          for block in 0..<Writer.blocks { try file.write(page, at: block * 8192) }
          try file.sync()
          #expect(
            try mounted.volume.readFile("pages").allSatisfy { $0 == UInt8(value) }, "sync \(value)")
        }
      } catch {
        try? mounted.end()  // the first error is the one to report
        throw error
      }
      try mounted.end()
    }
  }

  private func writePages(_ path: String) throws {
    let file = try TestFile(path)
    for block in 0..<Writer.blocks {
      try file.write([UInt8](repeating: 1, count: 8192), at: block * 8192)
    }
  }

  /// A mounted file of whole pages; they are whole again when the volume is opened anew.
  private func withPages(
    _ body: (MountedVolume, TestFile, _ path: String, _ directory: String) async throws -> Void
  ) async throws {
    try await withTemporaryDirectory { directory in
      let mounted = try MountedVolume(in: directory)
      do {
        let path = "\(mounted.session.path)/pages"
        let file = try TestFile(path)
        let page = [UInt8](repeating: 1, count: 8192)
        for block in 0..<Writer.blocks { try file.write(page, at: block * 8192) }
        try await body(mounted, file, path, directory)
      } catch {
        try? mounted.end()  // the first error is the one to report
        throw error
      }
      try mounted.end()
      let again = try Volume.open(mounted.volume.configuration)
      try expectWhole(try again.readFile("pages"), "opened anew")
      try again.close()
    }
  }

  private func expectWhole(_ file: TestFile, _ what: String) throws {
    try expectWhole(try file.read(Writer.blocks * 8192, at: 0), what)
  }

  private func expectWhole(_ content: [UInt8], _ what: String) throws {
    try #require(content.count == Writer.blocks * 8192)
    for block in 0..<Writer.blocks {
      let page = content[block * 8192..<(block + 1) * 8192]
      #expect(page.allSatisfy { $0 == page.first }, "\(what): half a page in block \(block)")
    }
  }
}

/// A process that writes pages of one byte each from memory that is unmapped under it.
private final class Writer {
  static let blocks = 32
  private let program: BackgroundProgram
  private let log: String

  convenience init(_ path: String, seed: Int, in directory: String) throws {
    try self.init(["write", path, "\(seed)"], log: "\(directory)/writer-\(seed)")
  }

  /// - Parameter length: bytes of the page that can be read; the rest is out of reach.
  convenience init(_ path: String, halting length: Int, in directory: String) throws {
    try self.init(["halt", path, "\(length)"], log: "\(directory)/halting-\(length)")
  }

  private init(_ arguments: [String], log: String) throws {
    self.log = log
    program = try BackgroundProgram(["python3", "-u", "-c", Self.script] + arguments, log: log)
  }

  private var said: String {
    String(decoding: FileManager.default.contents(atPath: log) ?? Data(), as: UTF8.self)
  }

  private func wait(for word: String) async throws -> String {
    for _ in 0..<1000 {
      if let line = said.split(separator: "\n").first(where: { $0.hasPrefix(word) }) {
        return line.dropFirst(word.count).trimmingCharacters(in: .whitespaces)
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw CommandFailure(description: "wait for the writer to say '\(word)': it said \(said)")
  }

  func waitForWrites() async throws { _ = try await wait(for: "writing") }

  /// Bytes that its one write put down.
  func waitForPiece() async throws -> Int { Int(try await wait(for: "wrote")) ?? -1 }

  func kill() {
    program.signal(SIGKILL)
    program.wait()
  }

  private static let script =
    """
    import ctypes, mmap, os, random, sys, threading, time
    mode, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    file = os.open(path, os.O_RDWR)
    # Shared memory: what is dropped from the mapping is still there, as a server's buffers are.
    memory = mmap.mmap(-1, 1 << 20)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.pwrite.restype = ctypes.c_ssize_t
    libc.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def unmap():
        while True:
            libc.madvise(start, 1 << 20, 4)

    if mode == "halt":
        memory[:] = b"\\x07" * (1 << 20)
        edge = 65536
        assert libc.mprotect(start + edge, 65536, 0) == 0
        print("wrote", libc.pwrite(file, start + edge - number, 8192, 5 * 8192))
        time.sleep(600)
    threading.Thread(target=unmap, daemon=True).start()
    threading.Thread(target=unmap, daemon=True).start()
    chance = random.Random(number)
    print("writing")
    while True:
        fill, block, at = chance.randrange(1, 256), chance.randrange(32), chance.randrange(500_000)
        memory[at:at + 8192] = bytes([fill]) * 8192
        done = 0
        while done < 8192:
            count = libc.pwrite(file, start + at + done, 8192 - done, block * 8192 + done)
            if count <= 0:
                sys.exit(f"pwrite: {os.strerror(ctypes.get_errno())}")
            done += count
    """
}
