import DurableIO
import Glibc
import TestSupport
import Testing

@Suite struct SystemFileSystemTests {
  let files = SystemFileSystem()

  @Test func whatIsWrittenIsReadBack() async throws {
    try await withTemporaryDirectory { directory in
      let file = try files.open("\(directory)/a", .createNew, operation: "test")
      try [1, 2, 3].withUnsafeBytes { head in
        try [UInt8](repeating: 7, count: 100_000).withUnsafeBytes { body in
          try file.write(head, body, at: 10, operation: "test")
          #expect(try file.size(operation: "test") == UInt64(10 + head.count + body.count))
        }
      }
      var bytes = [UInt8](repeating: 9, count: 20)
      let count = try bytes.withUnsafeMutableBytes {
        try file.read(into: $0, at: 5, operation: "test")
      }
      #expect(count == 20)
      #expect(Array(bytes[0..<6]) == [0, 0, 0, 0, 0, 1])
      let short = try bytes.withUnsafeMutableBytes {
        try file.read(into: $0, at: 100_030, operation: "test")
      }
      #expect(short == 4)
      try file.sync(operation: "test")
    }
  }

  @Test func itIsKnownWhetherMemoryHoldsAFile() async throws {
    try await withTemporaryDirectory { directory in
      let file = try files.open("\(directory)/a", .createNew, operation: "test")
      #expect(try file.isCached(operation: "test"))
      try [UInt8](repeating: 7, count: 1 << 20).withUnsafeBytes {
        try file.write($0, at: 0, operation: "test")
      }
      #expect(try file.isCached(operation: "test"))
      try file.sync(operation: "test")
      let descriptor = open("\(directory)/a", O_RDONLY)
      defer { close(descriptor) }
      #expect(posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0)
      #expect(try !file.isCached(operation: "test"))
    }
  }

  @Test func closedFileRefusesEveryCall() async throws {
    try await withTemporaryDirectory { directory in
      let file = try files.open("\(directory)/a", .createNew, operation: "test")
      file.close()
      file.close()
      #expect(throws: FileError(operation: "test", path: "\(directory)/a", code: EBADF)) {
        try file.sync(operation: "test")
      }
    }
  }

  @Test func errorsNameOperationAndPath() async throws {
    try await withTemporaryDirectory { directory in
      let error = #expect(throws: FileError.self) {
        try files.open("\(directory)/none", .readWrite, operation: "open log")
      }
      #expect(error?.isNotFound == true)
      #expect(error?.description == "open log: \(directory)/none: No such file or directory")
      let absent = try files.status("\(directory)/none", operation: "test")
      #expect(absent == nil)
    }
  }

  @Test func failedSyncStaysFailed() throws {
    // Character devices refuse fdatasync.
    let file = try files.open("/dev/null", .readWrite, operation: "test")
    for _ in 0..<2 {
      #expect(throws: FileError(operation: "sync", path: "/dev/null", code: EINVAL)) {
        try file.sync(operation: "sync")
      }
    }
  }

  @Test func fullDeviceIsReportedAsFull() throws {
    let file = try files.open("/dev/full", .readWrite, operation: "test")
    let error = #expect(throws: FileError.self) {
      try [UInt8](repeating: 1, count: 10).withUnsafeBytes {
        try file.write($0, at: 0, operation: "test")
      }
    }
    #expect(error?.isDiskFull == true)
  }

  @Test func directoriesAreMadeListedAndRemoved() async throws {
    try await withTemporaryDirectory { directory in
      try files.makeDirectory("\(directory)/x/y/z", operation: "test")
      try files.makeDirectory("\(directory)/x/y/z", operation: "test")
      try files.replaceFile("\(directory)/x/b", with: [1], operation: "test")
      try files.replaceFile("\(directory)/x/b", with: [2, 3], operation: "test")
      try files.link("\(directory)/x/b", to: "\(directory)/x/a", operation: "test")
      #expect(try files.list("\(directory)/x", operation: "test") == ["a", "b", "y"])
      #expect(try files.readFile("\(directory)/x/a", operation: "test") == [2, 3])
      try files.removeDirectory("\(directory)/x/y/z", operation: "test")
      #expect(try files.list("\(directory)/x/y", operation: "test") == [])
      #expect(throws: FileError.self) {
        try files.makeDirectory("\(directory)/x/a/below", operation: "test")
      }
      #expect(try files.freeBytes(directory, operation: "test") > 0)
    }
  }

  @Test func punchedAndAllocatedRangesReadAsZeros() async throws {
    try await withTemporaryDirectory { directory in
      let file = try files.open("\(directory)/a", .createNew, operation: "test")
      try [UInt8](repeating: 1, count: 16_384).withUnsafeBytes {
        try file.write($0, at: 0, operation: "test")
      }
      try file.punchHole(4096..<8192, operation: "test")
      try file.allocate(16_384..<20_000, operation: "test")
      file.close()
      let bytes = try files.readFile("\(directory)/a", operation: "test")
      #expect(bytes.count == 20_000)
      #expect(
        bytes.enumerated().allSatisfy { index, byte in
          byte == ((4096..<8192).contains(index) || index >= 16_384 ? 0 : 1)
        })
    }
  }

  @Test func countingFileSystemCountsBytes() async throws {
    try await withTemporaryDirectory { directory in
      let counting = CountingFileSystem(files)
      try counting.replaceFile("\(directory)/a", with: [1, 2, 3], operation: "test")
      _ = try counting.readFile("\(directory)/a", operation: "test")
      let counts = counting.counts
      #expect(counts.bytesRead == 3)
      #expect(counts.bytesWritten == 3)
      #expect(counts.syncs == 2)
    }
  }
}
