import CFuse
import Glibc
import Volume

// Requests on open directories. They need no handle: the volume's cookies stay good while names
// come and go.

extension MountSession {
  static func addDirectoryOperations(to table: inout fuse_lowlevel_ops) {
    table.readdir = { request, directory, size, offset, _ in
      Request(pointer: request!).handle { session in
        try session.list(
          Request(pointer: request!), FileID(directory), size, offset, withAttributes: false)
      }
    }
    table.readdirplus = { request, directory, size, offset, _ in
      Request(pointer: request!).handle { session in
        try session.list(
          Request(pointer: request!), FileID(directory), size, offset, withAttributes: true)
      }
    }
    table.fsyncdir = { request, _, _, _ in
      Request(pointer: request!).handle { session in
        try session.volume.sync()
        Request(pointer: request!).answer()
      }
    }
  }

  /// Fills one answer with names after `offset`: 1 is `.`, 2 is `..`, then the volume's cookies
  /// plus 2.
  ///
  /// The kernel holds the directory still meanwhile, so names and what they stand for agree.
  private func list(
    _ request: Request, _ directory: FileID, _ size: Int, _ offset: off_t, withAttributes: Bool
  ) throws {
    var page = ListingPage(request: request, size: size, withAttributes: withAttributes)
    defer { page.answer() }
    for (place, name) in [(off_t(1), "."), (2, "..")] where offset < place {
      // Identity 0 tells the kernel that these two carry no attributes.
      var entry = fuse_entry_param()
      entry.attr.st_ino = ino_t(directory.rawValue)
      entry.attr.st_mode = S_IFDIR
      guard page.add(name, &entry, next: place) else { return }
    }
    // The shortest entry takes 32 bytes, so that no more fit.
    let found = try volume.list(
      directory, after: UInt64(max(offset, 2) - 2), limit: size / 32 + 1)
    for listed in found {
      var entry = fuse_entry_param()
      if withAttributes {
        entry = self.entry(try volume.attributes(of: listed.id))
      } else {
        entry.attr.st_ino = ino_t(listed.id.rawValue)
        entry.attr.st_mode = type(listed.kind)
      }
      guard page.add(listed.name, &entry, next: off_t(listed.cookie) + 2) else { return }
    }
  }
}

/// The answer to one request for names, being filled.
private struct ListingPage {
  let request: Request
  let withAttributes: Bool
  private let buffer: UnsafeMutableRawBufferPointer
  private var used = 0

  init(request: Request, size: Int, withAttributes: Bool) {
    self.request = request
    self.withAttributes = withAttributes
    buffer = UnsafeMutableRawBufferPointer(
      rebasing: AnswerBuffer.current[..<min(size, AnswerBuffer.size)])
  }

  /// - Parameter next: where listing goes on after this name.
  /// - Returns: `false` if it does not fit any more.
  mutating func add(_ name: String, _ entry: inout fuse_entry_param, next: off_t) -> Bool {
    let room = buffer.count - used
    let place = (buffer.baseAddress! + used).assumingMemoryBound(to: CChar.self)
    let needed =
      withAttributes
      ? fuse_add_direntry_plus(request.pointer, place, room, name, &entry, next)
      : fuse_add_direntry(request.pointer, place, room, name, &entry.attr, next)
    guard needed <= room else { return false }
    used += needed
    return true
  }

  func answer() { request.answer(bytes: UnsafeRawBufferPointer(rebasing: buffer[..<used])) }
}
