import DurableIO
import PostgresFormat
import Synchronization

/// WAL on local disk between its arrival and its upload.
///
/// ## Purpose
/// Keeps what was received until the store has it, so that the server need not.
///
/// ## State and invariants
/// 1. Bytes lie at their natural place: segment number `lsn / segmentSize`, offset `lsn %
///   segmentSize`.
/// 2. Files are consecutive, from the one that holds the lowest byte still needed.
/// 3. A file has its full size, zeros after the last byte written.
///
/// ## On disk
/// `spool` (``SpoolHeader``) and `<segment number, 16 hexadecimal digits>.wal`;
/// docs/formats/wal-spool.md.
///
/// ## Crash
/// What was written before the last ``sync()`` is there. How far the rest reaches is found by
/// reading records
/// until one does not pass its checks; where the bytes end is stored nowhere.
///
/// ## Concurrency
/// One thread writes, one reads, syncs and releases; the table of files is behind a lock.
///
/// ## Not guarded here
/// Damage between two syncs and a reading: whoever reads verifies records.
final class WALSpool: Sendable {
  let directory: String
  let header: SpoolHeader
  private let fileSystem: any FileSystem
  private let state: Mutex<State>

  private struct State {
    /// Numbers of the files that exist, consecutive.
    var numbers: Range<UInt64>
    var open: [UInt64: any OpenFile] = [:]
    var unsynced: Set<UInt64> = []
    var isDirectoryUnsynced = false
  }

  private init(
    _ directory: String, _ header: SpoolHeader, _ fileSystem: any FileSystem,
    numbers: Range<UInt64>
  ) {
    self.directory = directory
    self.header = header
    self.fileSystem = fileSystem
    state = Mutex(State(numbers: numbers, unsynced: Set(numbers)))
  }

  private var segmentSize: UInt64 { UInt64(header.segmentSize) }

  /// The lowest position that may hold bytes.
  var startLSN: LSN {
    max(header.startLSN, LSN(state.withLock { $0.numbers.lowerBound } * segmentSize))
  }

  /// The end of the last file; nothing was written at or above it.
  var capacityEnd: LSN { LSN(state.withLock { $0.numbers.upperBound } * segmentSize) }

  /// Writes bytes that follow those before. Readable on return, not durable.
  ///
  /// - Throws: ``FileError``; the same bytes may be written again.
  func write(_ bytes: UnsafeRawBufferPointer, at lsn: LSN) throws {
    var rest = bytes
    var position = lsn
    while !rest.isEmpty {
      let offset = position.rawValue % segmentSize
      let count = min(rest.count, Int(segmentSize - offset))
      let file = try fileForWriting(position.rawValue / segmentSize)
      try file.write(
        UnsafeRawBufferPointer(rebasing: rest[..<count]), at: offset, operation: "write spool")
      // After the bytes: a sync that ran since would have taken the mark and left them.
      _ = state.withLock { $0.unsynced.insert(position.rawValue / segmentSize) }
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      position = position + UInt64(count)
    }
  }

  /// Fills `buffer` from `lsn` on, at most to the end of the segment; returns the bytes read, 0
  /// past the files.
  func read(into buffer: UnsafeMutableRawBufferPointer, at lsn: LSN) throws -> Int {
    let number = lsn.rawValue / segmentSize
    guard state.withLock({ $0.numbers.contains(number) }) else { return 0 }
    let offset = lsn.rawValue % segmentSize
    let count = min(buffer.count, Int(segmentSize - offset))
    let file = try file(number, .readWrite)
    return try file.read(
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset,
      operation: "read spool")
  }

  /// Makes everything written so far durable.
  ///
  /// - Throws: ``FileError``: then nothing written since the last success may be taken for durable,
  ///   and it must be written again.
  func sync() throws {
    let (files, isDirectoryUnsynced) = state.withLock { state in
      let result = (state.unsynced.sorted(), state.isDirectoryUnsynced)
      state.unsynced = []
      state.isDirectoryUnsynced = false
      return result
    }
    do {
      for number in files { try file(number, .readWrite).sync(operation: "sync spool") }
      if isDirectoryUnsynced {
        try fileSystem.syncDirectory(directory, operation: "sync spool")
      }
    } catch {
      state.withLock {
        $0.unsynced.formUnion(files)
        $0.isDirectoryUnsynced = $0.isDirectoryUnsynced || isDirectoryUnsynced
      }
      throw error
    }
    closeSettled()
  }

  /// Removes the files that lie wholly below `lsn`, but never the last.
  func release(below lsn: LSN) throws {
    while true {
      let number: UInt64? = state.withLock { state in
        let first = state.numbers.lowerBound
        guard state.numbers.count > 1, (first + 1) * segmentSize <= lsn.rawValue else { return nil }
        state.numbers = first + 1..<state.numbers.upperBound
        state.unsynced.remove(first)
        state.open.removeValue(forKey: first)?.close()
        return first
      }
      guard let number else { return }
      // A removal that a crash undoes leaves a file more, which the next opening removes.
      try fileSystem.unlink(path(number), operation: "release spool")
    }
  }

  /// Closes the files; further calls open them again.
  func close() {
    state.withLock { state in
      for file in state.open.values { file.close() }
      state.open = [:]
    }
  }

  private func fileForWriting(_ number: UInt64) throws -> any OpenFile {
    let isNew = state.withLock { !$0.numbers.contains(number) }
    guard isNew else { return try file(number, .readWrite) }
    let file = try file(number, .createReadWrite)
    try file.truncate(to: 0, operation: "create spool segment")
    // The full size at once: a disk without room says so here, and syncs change no sizes later.
    try file.allocate(0..<segmentSize, operation: "create spool segment")
    state.withLock { state in
      precondition(number == state.numbers.upperBound, "spool segment out of order")
      state.numbers = state.numbers.lowerBound..<number + 1
      state.isDirectoryUnsynced = true
    }
    return file
  }

  private func file(_ number: UInt64, _ mode: OpenMode) throws -> any OpenFile {
    if let file = state.withLock({ $0.open[number] }) { return file }
    let file = try fileSystem.open(path(number), mode, operation: "open spool segment")
    return state.withLock { state in
      if let other = state.open[number] { return other }
      state.open[number] = file
      return file
    }
  }

  /// Keeps few descriptors: only the newest file and those not yet synced stay open.
  private func closeSettled() {
    state.withLock { state in
      for number in state.open.keys
      where number + 1 < state.numbers.upperBound && !state.unsynced.contains(number) {
        state.open.removeValue(forKey: number)
      }
    }
  }

  private func path(_ number: UInt64) -> String { WALSpool.path(directory, number) }
}

extension WALSpool {
  static func path(_ directory: String, _ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return "\(directory)/" + String(repeating: "0", count: 16 - digits.count) + digits + ".wal"
  }

  /// The segment number in a file's name, `nil` for any other name.
  static func number(_ name: String) -> UInt64? {
    guard name.utf8.count == 20, name.hasSuffix(".wal") else { return nil }
    return UInt64(name.prefix(16), radix: 16)
  }

  /// Opens what a directory holds, `nil` where there is no spool.
  ///
  /// Of several runs of consecutive files the one that holds `lsn` counts; the others are removed.
  /// - Throws: ``CaptureError`` `.spoolFormat`; ``FileError``.
  static func open(
    _ directory: String, holding lsn: LSN, fileSystem: any FileSystem
  ) throws -> WALSpool? {
    guard try fileSystem.status(headerPath(directory), operation: "open spool") != nil else {
      return nil
    }
    let bytes = try fileSystem.readFile(headerPath(directory), operation: "open spool")
    let header = try SpoolHeader(bytes: bytes, path: directory)
    let names = try fileSystem.list(directory, operation: "open spool")
    let numbers = names.compactMap(number).sorted()
    let wanted = lsn.rawValue / UInt64(header.segmentSize)
    var run = wanted..<wanted
    for number in numbers {
      if number == run.upperBound { run = run.lowerBound..<number + 1 }
    }
    for number in numbers.reversed() {
      if !run.isEmpty, number + 1 == run.lowerBound { run = number..<run.upperBound }
    }
    for number in numbers where !run.contains(number) {
      try fileSystem.unlink(path(directory, number), operation: "open spool")
    }
    return WALSpool(directory, header, fileSystem, numbers: run)
  }

  /// Makes an empty spool, in place of what the directory holds. Durable on return.
  static func create(
    _ directory: String, _ header: SpoolHeader, fileSystem: any FileSystem
  ) throws -> WALSpool {
    try fileSystem.makeDurableDirectory(directory, operation: "create spool")
    for name in try fileSystem.list(directory, operation: "create spool")
    where number(name) != nil {
      try fileSystem.unlink("\(directory)/\(name)", operation: "create spool")
    }
    try fileSystem.replaceFile(
      headerPath(directory), with: header.encoded, operation: "create spool")
    let first = header.startLSN.rawValue / UInt64(header.segmentSize)
    return WALSpool(directory, header, fileSystem, numbers: first..<first)
  }

  private static func headerPath(_ directory: String) -> String { "\(directory)/spool" }
}
