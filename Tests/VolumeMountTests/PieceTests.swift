import Foundation
import TestSupport
import Testing
import VolumeMount

/// Page writes that arrive in pieces (architecture.md, section 9).
@Suite(.serialized, .timeLimit(.minutes(3)), .enabled(if: canMount, mountNeeds))
struct PieceTests {
  @Test func piecesOfOneBlockBecomeWhole() async throws {
    try await withMountServer { server, _ in
      let (directory, file) = try pageFile(server)
      try file.write(pattern(2, 1_024), at: 8_192)
      #expect(try file.read(1_024, at: 8_192) == pattern(2, 1_024))
      try file.write(pattern(3, 7_168), at: 9_216)
      try file.sync()
      server.crash()
      try MountPoint.clearDeadMount(at: server.path)
      try server.start()
      let again = try TestFile("\(directory)/16384")
      #expect(
        try again.read(30_000, at: 0)
          == Array(pattern(1, 8_192)) + pattern(2, 1_024) + pattern(3, 7_168))
    }
  }

  @Test func pieceWithoutItsRestIsGoneOnceItsWriterIs() async throws {
    try await withMountServer { server, _ in
      let (directory, file) = try pageFile(server)
      #expect(try file.read(8_192, at: 0) == pattern(1, 8_192))
      for size in [1_024, 4_096, 5_120] {
        // dd writes one piece and is gone; whoever waits for it must find the old page, cached or
        // not.
        try run([
          "dd", "if=/dev/zero", "of=\(directory)/16384", "bs=\(size)", "count=1", "conv=notrunc",
          "status=none",
        ])
        #expect(try file.read(8_192, at: 0) == pattern(1, 8_192), "after a piece of \(size) bytes")
      }
      try run([
        "dd", "if=/dev/zero", "of=\(directory)/16384", "bs=1024", "count=1", "seek=8",
        "conv=notrunc", "status=none",
      ])
      #expect(try file.end() == 8_192)
    }
  }

  @Test func pieceIsNotInWhatACrashLeaves() async throws {
    try await withMountServer { server, _ in
      let (directory, file) = try pageFile(server)
      try file.write(pattern(2, 4_096), at: 0)
      try file.sync()
      server.crash()
      try MountPoint.clearDeadMount(at: server.path)
      try server.start()
      #expect(try TestFile("\(directory)/16384").read(9_000, at: 0) == pattern(1, 8_192))
    }
  }

  /// A relation file of one page.
  private func pageFile(_ server: MountServer) throws -> (directory: String, file: TestFile) {
    try check("mkdir", mkdir("\(server.path)/base", 0o700))
    let file = try TestFile("\(server.path)/base/16384")
    try file.write(pattern(1, 8_192), at: 0)
    return ("\(server.path)/base", file)
  }
}
