import DurableIO
import Glibc
import Testing

struct DirectoryEntryTests {
  /// `readdir(3)` returns entries as long as their names, the last at the very end of its buffer.
  @Test func aNameIsReadFromAnEntryThatEndsWithItsMemory() throws {
    let pageSize = Int(getpagesize())
    let memory = try #require(
      mmap(nil, 2 * pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    defer { munmap(memory, 2 * pageSize) }
    try #require(mprotect(memory + pageSize, pageSize, PROT_NONE) == 0)
    let offset = try #require(MemoryLayout<dirent>.offset(of: \.d_name))
    for name in ["a", "1249", "a-longer-name.of-some-file"] {
      let start = memory + (pageSize - offset - name.utf8.count - 1)
      (start + offset).copyMemory(from: name + "\0", byteCount: name.utf8.count + 1)
      #expect(start.assumingMemoryBound(to: dirent.self).entryName == name)
    }
  }
}
