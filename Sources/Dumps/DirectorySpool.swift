import ControlPlane
import DurableIO
import Foundation

/// Takes the files of a directory that `pg_dump` is writing into packs, and frees the disk behind
/// what was taken.
///
/// `pg_dump` only appends to its files, so what lies behind their ends never changes; a hole is
/// punched where bytes were taken. Above its limit the program is stopped until the store has caught
/// up, so that the spool stays bounded however large the tables are.
final class DirectorySpool {
  private let path: String
  private let writer: PackWriter
  private let limit: Int
  private let files = SystemFileSystem()
  private var taken: [String: Taken] = [:]
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)

  private struct Taken {
    var number: Int
    var bytes: UInt64 = 0
    var size: UInt64 = 0
  }

  /// While the program runs, fewer bytes of a file than this wait for more.
  private static let piece: UInt64 = 1 << 20

  init(_ path: String, into writer: PackWriter, limit: Int) {
    self.path = path
    self.writer = writer
    self.limit = limit
  }

  deinit { buffer.deallocate() }

  /// Takes what is there; all of it where the program has ended.
  func collect(from program: ChildProgram, isLast: Bool) throws {
    let names = try names()
    var waiting: UInt64 = 0
    for name in names { waiting += try measure(name) }
    let isFull = waiting > UInt64(limit)
    if isFull { program.hold(true) }
    for name in names { try take(name, takesAll: isLast || isFull) }
    if isFull { program.hold(false) }
  }

  private func names() throws -> [String] {
    do {
      return try files.list(path, operation: "list dump").sorted()
    } catch let error as FileError where error.isNotFound {
      return []  // pg_dump has not made it yet
    }
  }

  private func measure(_ name: String) throws -> UInt64 {
    let size = try files.status("\(path)/\(name)", operation: "look at dump")?.size ?? 0
    var entry = taken[name] ?? Taken(number: writer.add(file: name))
    entry.size = size
    taken[name] = entry
    return size - entry.bytes
  }

  private func take(_ name: String, takesAll: Bool) throws {
    guard var entry = taken[name], entry.size > entry.bytes,
      takesAll || entry.size - entry.bytes >= Self.piece
    else { return }
    let file = try files.open("\(path)/\(name)", .readWrite, operation: "read dump")
    defer { file.close() }
    let from = entry.bytes
    while entry.bytes < entry.size {
      let wanted = Int(min(UInt64(buffer.count), entry.size - entry.bytes))
      let count = try file.read(
        into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: entry.bytes,
        operation: "read dump")
      guard count > 0 else { break }
      try writer.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: entry.number)
      entry.bytes += UInt64(count)
    }
    taken[name] = entry
    try file.punchHole(from..<entry.bytes, operation: "free dump")
  }
}
