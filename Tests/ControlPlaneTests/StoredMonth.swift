import ControlPlane
import ControlPlaneSimulation
import DurableIO
import Foundation
import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Volume

@testable import History

extension PostgresTimestamp {
  init(date: Date) {
    self.init(Int64((date.timeIntervalSince1970 - 946_684_800) * 1_000_000))
  }
}

/// Objects in memory, by directory: lines with thousands of objects are listed at once.
final class DirectoryMemoryStore: ObjectStore {
  private let directories = Mutex<[String: [String: [UInt8]]]>([:])

  private static func split(_ name: String) -> (String, String) {
    guard let slash = name.lastIndex(of: "/") else { return ("", name) }
    return (String(name[..<slash]), String(name[name.index(after: slash)...]))
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    guard case .bytes(let bytes) = body else {
      throw ObjectStorageError(.misconfigured, operation: "put object", key: key.name)
    }
    let (directory, name) = Self.split(key.name)
    directories.withLock { $0[directory, default: [:]][name] = bytes }
  }

  func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    let (directory, name) = Self.split(key.name)
    guard let bytes = directories.withLock({ $0[directory]?[name] }) else {
      throw ObjectStorageError(.notFound, operation: "get object", key: key.name)
    }
    guard let range else { return bytes }
    guard range.upperBound <= UInt64(bytes.count) else {
      throw ObjectStorageError(.outOfRange, operation: "get object", key: key.name)
    }
    return Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
  }

  func size(_ key: ObjectKey) async throws -> UInt64? {
    let (directory, name) = Self.split(key.name)
    return directories.withLock { $0[directory]?[name].map { UInt64($0.count) } }
  }

  func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    let (parent, _) = Self.split(prefix)
    let found = directories.withLock { directories in
      directories.filter {
        $0.key == parent || $0.key.hasPrefix(prefix) || $0.key.hasPrefix(parent)
      }
      .flatMap { directory, objects in
        objects.map { name, bytes in
          (directory.isEmpty ? name : "\(directory)/\(name)", UInt64(bytes.count))
        }
      }
    }
    return found.filter { name, _ in name.hasPrefix(prefix) && name > (after?.name ?? "") }
      .sorted { $0.0 < $1.0 }.prefix(limit)
      .map { ObjectListing(key: ObjectKey($0.0), size: $0.1) }
  }

  func directories(in prefix: String) async throws -> [String] {
    let found = directories.withLock { directories in
      Set(
        directories.filter { !$0.value.isEmpty && $0.key.hasPrefix(prefix) }.keys
          .compactMap { $0.dropFirst(prefix.count).split(separator: "/").first.map(String.init) })
    }
    return found.sorted()
  }

  func delete(_ key: ObjectKey) async throws {
    let (directory, name) = Self.split(key.name)
    directories.withLock { $0[directory]?[name] = nil }
  }

  func localFile(_ key: ObjectKey) -> String? { nil }

  func count(in directory: String) -> Int {
    directories.withLock { $0[directory]?.count ?? 0 }
  }
}

/// Histories of lines that are written by the hour, in the formats of real ones, with made-up WAL.
actor StoredMonth {
  private struct Line {
    var description: LineDescription
    var end: LSN
    var sequence: UInt64 = 0
  }

  /// A moment that does not open, and why.
  struct Closed: Error { var reason: String }

  nonisolated let store = DirectoryMemoryStore()
  nonisolated let environment: HistoryEnvironment
  private var lines: [String: Line] = [:]

  init(clock: ManualClock) {
    let random = Mutex(SeededRandom(seed: 11))
    environment = HistoryEnvironment(
      store: store, fileSystem: SystemFileSystem(), threads: BlockingThreads(count: 2),
      spoolDirectory: "/nonexistent", now: { PostgresTimestamp(date: clock.now) },
      uptime: { .seconds(clock.now.timeIntervalSince1970) },
      random: { random.withLock { $0.next() } })
  }

  func addLine(_ id: String) async throws {
    let start = LSN(0x100_0000)
    let description = LineDescription(
      id: LineID(rawValue: id), project: "pr-month", parent: nil, startLSN: start,
      timeline: TimelineID(1), systemIdentifier: 42, major: 99, serverVersion: "15.1",
      segmentSize: 2048, createdAt: environment.now())
    lines[id] = Line(description: description, end: start)
    let line = LineID(rawValue: id)
    try await LineOwner(
      epoch: 1, token: 1, takeoverLSN: start, createdAt: environment.now()
    ).put(on: line, store: store)
    try await store.put(LineKeys(line: line).description, .bytes(description.encodedObject()))
    try await write(id)
  }

  func head(_ id: String) -> LSN? { lines[id]?.end }

  /// A keyframe between two chunks: a moment at the head needs all three.
  func write(_ id: String) async throws {
    try await append(id)
    try await keyframe(id)
    try await append(id)
  }

  private func number(_ id: String) -> ObjectNumber {
    lines[id]?.sequence += 1
    return ObjectNumber(epoch: 1, sequence: lines[id]?.sequence ?? 0)
  }

  private static func bytes(from start: LSN, count: Int) -> [UInt8] {
    (0..<count).map {
      UInt8(truncatingIfNeeded: ((start.rawValue + UInt64($0)) &* 0x9E37_79B9) >> 11)
    }
  }

  private func append(_ id: String) async throws {
    guard let start = lines[id]?.end else { throw Closed(reason: "no line '\(id)'") }
    let line = LineID(rawValue: id)
    var builder = WALChunkBuilder(
      line: line, timeline: TimelineID(1), systemIdentifier: 42, startLSN: start,
      time: environment.now())
    Self.bytes(from: start, count: 300).withUnsafeBytes { builder.append($0) }
    builder.observeRecord(start: start, end: start + 300)
    builder.observeTransactionEnd(committed: true, time: environment.now())
    let key = LineKeys(line: line).wal(number(id))
    try await store.put(key, .bytes(try builder.finish().encoded(key: key)))
    lines[id]?.end = start + 300
  }

  private func keyframe(_ id: String) async throws {
    guard let redo = lines[id]?.end else { throw Closed(reason: "no line '\(id)'") }
    let line = LineID(rawValue: id)
    let layer = LayerReference(
      line: line, number: number(id), epochs: 1...1, highestPageLSN: LSN(1),
      objects: [
        LayerObjectReference(
          size: 3, start: BlockAddress(file: FileID(1), block: 0), blockCount: 1)
      ])
    try await store.put(layer.key(ofObject: 0), .bytes([1, 2, 3]))
    let keyframe = Keyframe(
      line: line, number: number(id), timeline: TimelineID(1), checkpointLSN: redo, redoLSN: redo,
      consistentLSN: redo, createdAt: environment.now(), systemIdentifier: 42,
      postgresVersion: "15.1", partial: nil,
      groups: [LayerGroup(layers: [layer], redoLSN: redo)])
    try await store.put(keyframe.key, .bytes(keyframe.encodedObject()))
  }

  /// Opens moments as far as a store goes: keyframe, layers, every byte of WAL.
  nonisolated func open(_ lsns: [LSN], of id: String) async throws {
    let history = try await LineHistory.open(LineID(rawValue: id), store: store)
    for lsn in lsns { try await open(lsn, history) }
  }

  private nonisolated func open(_ lsn: LSN, _ history: LineHistory) async throws {
    let moment = try await history.seek(.lsn(lsn), now: environment.now())
    guard moment.lsn == lsn, let keyframe = moment.complete else {
      throw Closed(reason: "\(lsn) opens at \(moment.lsn), or has no image")
    }
    for key in keyframe.layers.map({ $0.key(ofObject: 0) }) + [keyframe.key] {
      guard try await store.size(key) != nil else { throw Closed(reason: "\(key) is gone") }
    }
    var position = keyframe.redoLSN
    for try await run in history.readWAL(from: position, to: lsn) {
      guard run.startLSN == position,
        run.bytes == Self.bytes(from: position, count: run.bytes.count)
      else { throw Closed(reason: "the WAL at \(run.startLSN) is not what was written") }
      position = run.endLSN
    }
    guard position == lsn else { throw Closed(reason: "the WAL ends at \(position), not \(lsn)") }
  }
}

/// Computes in memory over histories that are stored: a moment is read only where it opens.
final class StoredFleet: ComputeFleet {
  private let base: SimulatedFleet
  private let month: StoredMonth

  init(_ base: SimulatedFleet, _ month: StoredMonth) {
    self.base = base
    self.month = month
  }

  func resolve(line: String, moment: MomentRequest) async throws -> ResolvedMoment {
    guard case .head = moment, let head = await month.head(line) else {
      return try await base.resolve(line: line, moment: moment)
    }
    return ResolvedMoment(lineID: line, lsn: head)
  }

  func openReading(_ request: ReadingRequest) async throws -> RunningCompute {
    guard await month.head(request.lineID) != nil else {
      return try await base.openReading(request)
    }
    do {
      try await month.open([request.lsn], of: request.lineID)
    } catch {
      throw ComputeFleetError(.damaged, "read \(request.lsn) of '\(request.lineID)': \(error)")
    }
    return RunningCompute(
      computeID: request.id, lineID: request.lineID, socketDirectory: "/nowhere/\(request.id)",
      port: 5432, startedAt: Date(), pid: 1)
  }

  func createRoot(_ request: RootRequest) async throws -> LineCreation {
    try await base.createRoot(request)
  }
  func window(line: String) async throws -> RestoreWindow { try await base.window(line: line) }
  func start(_ compute: ComputeRequest) async throws -> RunningCompute {
    try await base.start(compute)
  }
  func suspend(computeID: String) async throws { try await base.suspend(computeID: computeID) }
  func destroy(computeID: String, line: String) async throws {
    try await base.destroy(computeID: computeID, line: line)
  }
  func closeReading(id: String) async throws { try await base.closeReading(id: id) }
  func running() async -> [RunningCompute] { await base.running() }
  func logicalSize(line: String) async -> Int? { await base.logicalSize(line: line) }
}
