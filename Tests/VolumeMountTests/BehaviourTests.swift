import DurableIO
import Glibc
import Testing

/// What the kernel and Postgres expect of a file system. Each claim is also checked on a plain
/// directory, which shows that the claim itself is right.
@Suite(.serialized, .timeLimit(.minutes(3)), .enabled(if: canMount, mountNeeds))
struct BehaviourTests {
  @Test(arguments: Place.allCases)
  func renameReplacesAndKeepsOpenFiles(_ place: Place) async throws {
    try await place.with { root in
      let old = try TestFile("\(root)/old")
      try old.write(pattern(1, 100), at: 0)
      let replaced = try TestFile("\(root)/new")
      try replaced.write(pattern(2, 200), at: 0)
      try check("rename", rename("\(root)/old", "\(root)/new"))
      #expect(try names(root) == ["new"])
      #expect(try TestFile("\(root)/new", O_RDONLY).read(300, at: 0) == pattern(1, 100))
      #expect(try replaced.read(300, at: 0) == pattern(2, 200))
      try replaced.write(pattern(3, 10), at: 200)
      #expect(try replaced.status().st_size == 210)
      #expect(try TestFile("\(root)/new", O_RDONLY).status().st_size == 100)
    }
  }

  @Test(arguments: Place.allCases)
  func renameRefusesWhatPosixRefuses(_ place: Place) async throws {
    try await place.with { root in
      try check("mkdir", mkdir("\(root)/full", 0o700))
      try check("mkdir", mkdir("\(root)/empty", 0o700))
      _ = try TestFile("\(root)/full/file")
      _ = try TestFile("\(root)/plain")
      let move = { (from: String, to: String) in
        code { try check("rename", rename("\(root)/\(from)", "\(root)/\(to)")) }
      }
      #expect(move("missing", "x") == ENOENT)
      #expect(move("empty", "full") == ENOTEMPTY)
      #expect(move("plain", "empty") == EISDIR)
      #expect(move("empty", "plain") == ENOTDIR)
      #expect(move("full", "full/inside") == EINVAL)
      #expect(move("full", "empty") == 0)
      #expect(move("plain", "plain") == 0)
      #expect(try names("\(root)/empty") == ["file"])
      #expect(renameat2(root, "plain", "empty", noReplace: true) == EEXIST)
      #expect(renameat2(root, "plain", "moved", noReplace: true) == 0)
    }
  }

  @Test(arguments: Place.allCases)
  func unlinkedFileLivesWhileOpen(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      try file.write(pattern(1, 20_000), at: 0)
      try check("unlink", unlink("\(root)/file"))
      #expect(code { _ = try status("\(root)/file") } == ENOENT)
      try file.write(pattern(2, 5_000), at: 20_000)
      #expect(try file.read(30_000, at: 0) == pattern(1, 20_000) + pattern(2, 5_000))
      #expect(try file.status().st_size == 25_000)
      try file.truncate(10)
      #expect(try file.end() == 10)
      try file.sync()
      let again = try TestFile("\(root)/file", O_RDWR | O_CREAT | O_EXCL)
      #expect(try again.end() == 0)
    }
  }

  @Test(arguments: Place.allCases)
  func truncationZeroesWhatItCuts(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      try file.write(pattern(1, 30_000), at: 0)
      try file.truncate(10_001)
      try file.truncate(30_000)
      let expected = pattern(1, 30_000)[..<10_001] + [UInt8](repeating: 0, count: 19_999)
      #expect(try file.read(40_000, at: 0) == Array(expected))
      try file.truncate(0)
      #expect(try file.read(10, at: 0) == [])
      try file.write([1], at: 50_000)
      #expect(try file.read(60_000, at: 0) == [UInt8](repeating: 0, count: 50_000) + [1])
      let other = try TestFile("\(root)/file", O_RDWR | O_TRUNC)
      #expect(try other.end() == 0)
      #expect(try file.end() == 0)
      #expect(try file.read(10, at: 0) == [])
      try check("truncate", Glibc.truncate("\(root)/file", 12_345))
      #expect(try file.end() == 12_345)
    }
  }

  @Test(arguments: Place.allCases)
  func appendsGoToTheEndWhoeverWrites(_ place: Place) async throws {
    try await place.with { root in
      let first = try TestFile("\(root)/file", O_WRONLY | O_CREAT | O_APPEND)
      let second = try TestFile("\(root)/file", O_WRONLY | O_APPEND)
      for turn in 0..<50 {
        let file = turn % 2 == 0 ? first : second
        let bytes = pattern(turn, 333)
        try check("write", write(file.descriptor, bytes, bytes.count))
      }
      let all = try TestFile("\(root)/file", O_RDONLY).read(20_000, at: 0)
      #expect(all == (0..<50).flatMap { pattern($0, 333) })
    }
  }

  @Test(arguments: Place.allCases)
  func allocationExtendsWithZeroes(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      try file.write(pattern(1, 1_000), at: 0)
      try file.allocate(0, 100_000)
      #expect(try file.end() == 100_000)
      #expect(
        try file.read(200_000, at: 0) == pattern(1, 1_000) + [UInt8](repeating: 0, count: 99_000))
      try file.allocate(0, 10)
      #expect(try file.end() == 100_000)
    }
  }

  @Test(arguments: Place.allCases)
  func mappedReadsSeeWrites(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      try file.write(pattern(1, 16_384), at: 0)
      let map = try #require(mmap(nil, 16_384, PROT_READ, MAP_SHARED, file.descriptor, 0))
      try #require(map != MAP_FAILED)
      defer { munmap(map, 16_384) }
      let bytes = UnsafeRawBufferPointer(start: map, count: 16_384)
      #expect(Array(bytes) == pattern(1, 16_384))
      try file.write(pattern(2, 5_000), at: 6_000)
      #expect(Array(bytes[6_000..<11_000]) == pattern(2, 5_000))
    }
  }

  @Test(arguments: Place.allCases)
  func offsetsAroundOneGibibyteAreExact(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      let gibibyte = 1 << 30
      try file.write(pattern(1, 8_192), at: gibibyte - 8_192)
      #expect(try file.end() == gibibyte)
      try file.write(pattern(2, 8_192), at: gibibyte - 4_096)
      #expect(try file.end() == gibibyte + 4_096)
      #expect(
        try file.read(20_000, at: gibibyte - 8_192)
          == Array(pattern(1, 8_192)[..<4_096]) + pattern(2, 8_192))
      #expect(try file.read(4_096, at: 12_288) == [UInt8](repeating: 0, count: 4_096))
      try file.truncate(gibibyte)
      #expect(try file.end() == gibibyte)
    }
  }

  @Test(arguments: Place.allCases)
  func directoriesListWhatIsThere(_ place: Place) async throws {
    try await place.with { root in
      try check("mkdir", mkdir("\(root)/d", 0o700))
      for number in 0..<3_000 { _ = try TestFile("\(root)/d/\(number)") }
      #expect(try names("\(root)/d") == (0..<3_000).map(String.init).sorted())
      for number in stride(from: 0, to: 3_000, by: 2) {
        try check("unlink", unlink("\(root)/d/\(number)"))
      }
      #expect(
        try names("\(root)/d") == stride(from: 1, to: 3_000, by: 2).map(String.init).sorted())
      #expect(code { try check("rmdir", rmdir("\(root)/d")) } == ENOTEMPTY)
      for name in try names("\(root)/d") { try check("unlink", unlink("\(root)/d/\(name)")) }
      #expect(code { try check("rmdir", rmdir("\(root)/d")) } == 0)
      #expect(code { _ = try names("\(root)/d") } == ENOENT)
    }
  }

  /// `DROP DATABASE` deletes while it reads the directory.
  @Test(arguments: Place.allCases)
  func deletingWhileListingSkipsNothing(_ place: Place) async throws {
    try await place.with { root in
      for number in 0..<2_000 { _ = try TestFile("\(root)/some-longer-name-\(number)") }
      let directory = try #require(opendir(root))
      defer { closedir(directory) }
      while let entry = readdir(directory) {
        let name = entry.entryName
        if name != ".", name != ".." { try check("unlink", unlink("\(root)/\(name)")) }
      }
      #expect(try names(root) == [])
    }
  }

  @Test(arguments: Place.allCases)
  func symbolicLinksLeadOutside(_ place: Place) async throws {
    try await place.with { root in
      try check("symlink", symlink("/etc/hostname", "\(root)/link"))
      var target = [CChar](repeating: 0, count: 100)
      #expect(readlink("\(root)/link", &target, 100) == 13)
      #expect(try status("\(root)/link").st_size == 13)
      #expect(try TestFile("\(root)/link", O_RDONLY).end() > 0)
      #expect(code { try check("symlink", symlink("x", "\(root)/link")) } == EEXIST)
    }
  }

  @Test(arguments: Place.allCases)
  func concurrentWritersKeepTheirBlocks(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file")
      let descriptor = file.descriptor
      await withTaskGroup(of: Void.self) { group in
        for writer in 0..<4 {
          group.addTask {
            for block in 0..<100 {
              let bytes = pattern(writer * 1_000 + block, 8_192)
              _ = pwrite(descriptor, bytes, 8_192, (block * 4 + writer) * 8_192)
            }
          }
        }
      }
      for block in 0..<400 {
        let bytes = try file.read(8_192, at: block * 8_192)
        #expect(bytes == pattern(block % 4 * 1_000 + block / 4, 8_192))
      }
    }
  }

  @Test(arguments: Place.allCases)
  func modesAndTimesAreKept(_ place: Place) async throws {
    try await place.with { root in
      let file = try TestFile("\(root)/file", mode: 0o640)
      #expect(try file.status().st_mode == S_IFREG | 0o640)
      try check("chmod", chmod("\(root)/file", 0o400))
      #expect(try file.status().st_mode == S_IFREG | 0o400)
      var times = [timespec(tv_sec: 5, tv_nsec: 6), timespec(tv_sec: 1_234, tv_nsec: 567)]
      try check("futimens", futimens(file.descriptor, &times))
      #expect(try status("\(root)/file").st_mtim.tv_sec == 1_234)
      #expect(try status("\(root)/file").st_mtim.tv_nsec == 567)
      try file.write([1], at: 0)
      #expect(try file.status().st_mtim.tv_sec > 1_000_000)
    }
  }

  @Test(arguments: Place.allCases)
  func namesAreRefusedOrKeptExactly(_ place: Place) async throws {
    try await place.with { root in
      let longest = String(repeating: "n", count: 255)
      _ = try TestFile("\(root)/\(longest)")
      _ = try TestFile("\(root)/größe ☃")
      #expect(try names(root) == [longest, "größe ☃"].sorted())
      #expect(code { _ = try TestFile("\(root)/\(longest)n") } == ENAMETOOLONG)
      #expect(code { _ = try TestFile("\(root)/größe ☃/below") } == ENOTDIR)
      #expect(code { _ = try TestFile("\(root)/missing/below") } == ENOENT)
      #expect(code { _ = try TestFile(root, O_RDWR) } == EISDIR)
    }
  }
}
