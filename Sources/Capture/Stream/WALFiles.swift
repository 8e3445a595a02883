import DurableIO
import Glibc
import PostgresFormat

/// A server's `pg_wal`, read while it is being written.
///
/// *Concurrency.* One thread. *Not guarded here.* Reading beyond what the server has flushed, or what no slot keeps.
final class WALFiles {
  private let directory: String
  private let segmentSize: UInt64
  private let files: any FileSystem
  private var segment: (WALSegment, any OpenFile)?
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)

  init(directory: String, segmentSize: UInt64, files: any FileSystem) {
    self.directory = directory
    self.segmentSize = segmentSize
    self.files = files
  }

  deinit { buffer.deallocate() }

  func close() {
    segment?.1.close()
    segment = nil
  }

  /// The bytes from `start` on: up to `end`, the segment's end or 1 MiB, whichever comes first. They are valid until
  /// the next call.
  /// - Throws: ``FileError`` where the segment is not there or ends too early.
  func read(
    from start: LSN, to end: LSN, timeline: TimelineID
  ) throws -> UnsafeRawBufferPointer {
    let wanted = WALSegment(timeline: timeline, containing: start, size: segmentSize)
    let file = try open(wanted)
    let count = Int(min(end - start, wanted.endLSN - start, UInt64(buffer.count)))
    let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    let found = try file.read(
      into: part, at: start - wanted.startLSN, operation: "read the server's WAL")
    guard found == count else {
      // Shorter than a segment.
      throw FileError(operation: "read the server's WAL", path: path(wanted), code: ENODATA)
    }
    return UnsafeRawBufferPointer(part)
  }

  private func open(_ wanted: WALSegment) throws -> any OpenFile {
    if let (segment, file) = segment, segment == wanted { return file }
    close()
    let file = try files.open(path(wanted), .read, operation: "open the server's WAL")
    segment = (wanted, file)
    return file
  }

  private func path(_ segment: WALSegment) -> String { "\(directory)/\(segment.fileName)" }
}
