import DurableIO
import Synchronization
import TestSupport
import Testing

@testable import Volume

@Suite struct VolumeTests {
  @Test func whatWasWrittenIsThereAfterReopen() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      let base = try volume.makeDirectory("base", in: .root, mode: 0o700)
      let file = try volume.create("1", in: base.id, mode: 0o600)
      try volume.write(file.id, at: 0, page(1) + page(2))
      try volume.write(file.id, at: 3 * 8192, page(4))
      _ = try volume.makeSymbolicLink("pg_wal", in: .root, target: "/elsewhere/wal")
      try volume.writeFile("PG_VERSION", Array("15\n".utf8))
      let before = try volume.contents()
      #expect(before["base/1"] == page(1) + page(2) + page(0) + page(4))
      try volume.close()
      volume = try Volume.open(configuration)
      #expect(try volume.contents() == before)
      #expect(try volume.lookup("1", in: base.id).id == file.id)
      try volume.close()
    }
  }

  @Test func destagedBlocksAreReadFromLocalFiles() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      try volume.writeFile("a", page(1) + page(2) + [9])
      let epoch = try volume.seal()
      #expect(epoch.number == 1)
      #expect(epoch.files.map(\.blocks) == [[0, 1, 2]])
      try volume.write(try volume.find("a").id, at: 8192, page(7))
      try volume.destage()
      try volume.forget(epoch: 1)
      try volume.destage()
      #expect(try volume.readFile("a") == page(1) + page(7) + [9])
      try volume.close()
      volume = try Volume.open(configuration)
      #expect(volume.currentEpoch == 2)
      #expect(volume.sealedEpochs.isEmpty)
      #expect(try volume.readFile("a") == page(1) + page(7) + [9])
      try volume.close()
    }
  }

  @Test func sealedEpochKeepsItsImageAcrossReopen() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      let id = try volume.writeFile("a", page(1) + page(2))
      try volume.seal()
      try volume.write(id, at: 0, page(3))
      try volume.truncate(id, to: 8192)
      try volume.destage()
      try volume.close()
      volume = try Volume.open(configuration)
      let epoch = try #require(volume.sealedEpochs.first)
      var image = page(0)
      for block in 0..<2 {
        try image.withUnsafeMutableBytes {
          try epoch.readBlock(file: id, block: UInt32(block), into: $0)
        }
        #expect(image == page(UInt8(block + 1)))
      }
      #expect(epoch.tree.entries.first { $0.name == "a" }?.size == 16_384)
      #expect(try volume.readFile("a") == page(3))
      try volume.close()
    }
  }

  @Test func piecesOfAPageAreSeenButLoggedOnlyWhole() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      let dropped = Mutex<[Range<UInt64>]>([])
      volume.observeDroppedPieces { _, range in dropped.withLock { $0.append(range) } }
      let base = try volume.makeDirectory("base", in: .root, mode: 0o700)
      let file = try volume.create("1", in: base.id, mode: 0o600).id
      let handle = try volume.open(file)
      try volume.write(file, at: 0, page(1) + page(2), handle: handle)
      try volume.write(file, at: 8192, [UInt8](repeating: 3, count: 1024), handle: handle)
      try volume.write(file, at: 9216, [UInt8](repeating: 3, count: 3072), handle: handle)
      #expect(
        try volume.read(file, at: 8192, count: 8192)
          == [UInt8](repeating: 3, count: 4096) + [UInt8](repeating: 2, count: 4096))
      let epoch = try volume.seal()
      var image = page(0)
      try image.withUnsafeMutableBytes { try epoch.readBlock(file: file, block: 1, into: $0) }
      #expect(image == page(2))
      try volume.write(file, at: 12_288, [UInt8](repeating: 3, count: 4096), handle: handle)
      #expect(try volume.readFile("base/1") == page(1) + page(3))
      try volume.write(file, at: 16_384, [UInt8](repeating: 4, count: 1024), handle: handle)
      #expect(try volume.find("base/1").size == 17_408)
      try volume.release(handle)
      #expect(dropped.withLock { $0 } == [16_384..<17_408])
      #expect(try volume.find("base/1").size == 16_384)
      try volume.close()
      volume = try Volume.open(configuration)
      #expect(try volume.readFile("base/1") == page(1) + page(3))
      try volume.close()
    }
  }

  @Test func openUnlinkedFileStaysUsableUntilReleased() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      let id = try volume.writeFile("a", page(1))
      let handle = try volume.open(id)
      try volume.unlink("a", in: .root)
      try volume.write(id, at: 8192, page(2))
      try volume.forget(epoch: try volume.seal().number)
      try volume.destage()
      #expect(try volume.read(id, at: 0, count: 20_000) == page(1) + page(2))
      try volume.release(handle)
      #expect(throws: VolumeError.self) { try volume.attributes(of: id) }
      try volume.writeFile("b", page(3))
      try volume.forget(epoch: try volume.seal().number)
      try volume.destage()
      #expect(try volume.backing.identities() == [FileID(3)])
      try volume.close()
      volume = try Volume.open(configuration)
      #expect(try volume.contents() == ["b": page(3)])
      try volume.close()
    }
  }

  @Test func filesOutsideHistoryAreNeitherSealedNorKept() async throws {
    try await withTemporaryDirectory { directory in
      let configuration = testConfiguration("\(directory)/v")
      var volume = try Volume.open(configuration)
      _ = try volume.makeDirectory("scratch", in: .root, mode: 0o700)
      try volume.writeFile("scratch/x", [1, 2, 3])
      try volume.writeFile("y", [4])
      #expect(try volume.readFile("scratch/x") == [1, 2, 3])
      #expect(try volume.seal().tree.entries.map(\.name).sorted() == ["", "scratch", "y"])
      let error = #expect(throws: VolumeError.self) {
        try volume.rename(
          "x", in: try volume.find("scratch").id, to: "x", in: .root)
      }
      #expect(error?.code == .crossesHistory)
      try volume.close()
      volume = try Volume.open(configuration)
      #expect(try volume.contents() == ["scratch": nil, "y": [4]])
      try volume.close()
    }
  }

  @Test func observerHearsOfControlFileOnly() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(testConfiguration("\(directory)/v"))
      let heard = Mutex<[Range<UInt64>]>([])
      volume.observeWrites { id, range in
        // The write is in the log already, and the volume can be used from here.
        let size = (try? volume.attributes(of: id).size) ?? 0
        #expect(size >= range.upperBound)
        heard.withLock { $0.append(range) }
      }
      _ = try volume.makeDirectory("global", in: .root, mode: 0o700)
      try volume.writeFile("global/pg_control", page(1))
      try volume.writeFile("global/other", page(1))
      #expect(heard.withLock { $0 } == [0..<8192])
      volume.observeWrites(nil)
      try volume.close()
    }
  }

  @Test func exportedTreeIsAnOrdinaryDirectory() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(testConfiguration("\(directory)/v"))
      _ = try volume.makeDirectory("base", in: .root, mode: 0o750)
      try volume.writeFile("base/1", page(1) + page(0) + page(2))
      try volume.writeFile("conf", Array("x=1\n".utf8))
      _ = try volume.makeSymbolicLink("link", in: .root, target: "conf")
      try volume.exportTree(to: "\(directory)/out")
      let files = SystemFileSystem()
      #expect(try files.list("\(directory)/out", operation: "test") == ["base", "conf", "link"])
      let exported = try files.readFile("\(directory)/out/base/1", operation: "test")
      #expect(exported == page(1) + page(0) + page(2))
      #expect(try files.readFile("\(directory)/out/link", operation: "test") == Array("x=1\n".utf8))
      try volume.close()
    }
  }
}
