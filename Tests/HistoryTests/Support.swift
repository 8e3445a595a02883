import DurableIO
import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Testing
import Volume

@testable import History

/// Reproducible randomness (splitmix64).
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// A sealed epoch made by a test; a block's content follows from its seed.
struct TestEpoch: SealedEpoch {
  var number: UInt64
  var tree: FileTreeSnapshot
  var files: [EpochFile]
  var seeds: [BlockAddress: UInt64]

  func readBlock(
    file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    fillBlock(buffer, seed: seeds[BlockAddress(file: file, block: block)] ?? 0)
  }
}

/// Fills a block with what follows from the seed; seed 0 is zeros.
func fillBlock(_ buffer: UnsafeMutableRawBufferPointer, seed: UInt64) {
  buffer.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: seed))
  if seed == 0 { return }
  var random = SeededRandom(seed)
  for offset in [0, 8, 4096, 5000, blockSize - 8] {
    buffer.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
  }
}

func blockBytes(seed: UInt64) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: blockSize)
  bytes.withUnsafeMutableBytes { fillBlock($0, seed: seed) }
  return bytes
}

/// A clock that a test moves.
final class TestClock: Sendable {
  private let seconds = Mutex<Int64>(1_000_000)
  func advance(_ by: Int64) { seconds.withLock { $0 += by } }
  var now: PostgresTimestamp {
    PostgresTimestamp(seconds.withLock { $0 } * 1_000_000)
  }
  var uptime: Duration { .seconds(seconds.withLock { $0 }) }
}

func testEnvironment(
  _ store: any ObjectStore, _ directory: String, clock: TestClock = TestClock(), seed: UInt64 = 1
) -> HistoryEnvironment {
  let random = Mutex(SeededRandom(seed))
  return HistoryEnvironment(
    store: store, fileSystem: SystemFileSystem(), threads: testThreads,
    spoolDirectory: "\(directory)/spool", now: { clock.now }, uptime: { clock.uptime },
    random: { random.withLock { $0.next() } })
}

let testThreads = BlockingThreads(count: 2)

let lineA = LineID(rawValue: "ln-aaaaaaaaaaaaaaaa")
let lineB = LineID(rawValue: "ln-bbbbbbbbbbbbbbbb")
let lineC = LineID(rawValue: "ln-cccccccccccccccc")

func testDescription(
  _ line: LineID, start: LSN = LSN(0x100_0000), parent: LineOrigin? = nil
) -> LineDescription {
  LineDescription(
    id: line, project: "pr-test", parent: parent, startLSN: start, timeline: TimelineID(1),
    systemIdentifier: 42, major: 15, serverVersion: "15.1",
    createdAt: PostgresTimestamp(700_000_000_000_000))
}

/// A chunk of made-up bytes, with made-up records of `recordSize`.
func testChunk(
  _ line: LineID, from start: LSN, count: Int, time: PostgresTimestamp = PostgresTimestamp(1),
  seed: UInt64 = 7
) -> WALChunk {
  var builder = WALChunkBuilder(
    line: line, timeline: TimelineID(1), systemIdentifier: 42, startLSN: start, time: time)
  let bytes = testBytes(from: start, count: count, seed: seed)
  bytes.withUnsafeBytes { builder.append($0) }
  builder.observeRecord(start: start, end: start + UInt64(count))
  builder.observeTransactionEnd(committed: true, time: time)
  return builder.finish()
}

/// Made-up WAL that follows from its position.
func testBytes(from start: LSN, count: Int, seed: UInt64 = 7) -> [UInt8] {
  (0..<count).map { index in
    let position = start.rawValue &+ UInt64(index)
    return UInt8(truncatingIfNeeded: (position / 8 &* 0x9E37_79B9 &+ seed) >> 11)
  }
}

/// An empty tree with the given files.
func testTree(_ files: [UInt64] = [], next: UInt64 = 1000) -> FileTreeSnapshot {
  let root = FileTreeEntry(id: .root, parent: .root, name: "", kind: .directory, mode: 0o700)
  return FileTreeSnapshot(
    entries: [root]
      + files.map {
        FileTreeEntry(
          id: FileID($0), parent: .root, name: "f\($0)", kind: .regular, mode: 0o600, size: 8192)
      }, nextFileID: FileID(next))
}

/// An epoch that writes the given blocks of one file.
func testEpoch(_ number: UInt64, file: UInt64 = 7, blocks: [UInt32], seed: UInt64) -> TestEpoch {
  TestEpoch(
    number: number, tree: testTree([file]),
    files: [EpochFile(id: FileID(file), floor: .max, blocks: blocks)],
    seeds: Dictionary(
      uniqueKeysWithValues: blocks.map {
        (BlockAddress(file: FileID(file), block: $0), seed + UInt64($0))
      }))
}

func testParameters(_ lsn: LSN) -> KeyframeParameters {
  KeyframeParameters(
    timeline: TimelineID(1), checkpointLSN: lsn, redoLSN: lsn, consistentLSN: lsn,
    systemIdentifier: 42, postgresVersion: "15.1")
}

/// Runs blocking code off the cooperative pool, as production does.
func blocking<Value: Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await testThreads.run(body)
}

/// The code of the ``HistoryError`` that `body` throws.
func historyError(_ body: () async throws -> Void) async -> HistoryError? {
  do {
    try await body()
    return nil
  } catch {
    return error as? HistoryError
  }
}

/// The object that chunks of a store become when they are merged.
func mergedChunk(
  _ run: [WALChunkReference], _ number: ObjectNumber, of line: LineID, _ store: any ObjectStore
) async throws -> (key: ObjectKey, bytes: [UInt8], summary: WALChunkSummary) {
  let keys = LineKeys(line: line)
  return try await blocking {
    let sources = try run.map { chunk in
      try OpenWALChunk(
        openObject(
          keys.wal(chunk.number), size: chunk.size, store: store, fileSystem: SystemFileSystem()),
        expected: chunk.summary)
    }
    var bytes: [UInt8] = []
    let made = try WALChunkMerge(sources: sources, key: keys.wal(number), copiedBytes: 4 << 20) {
      bytes += Array($0)
    }.run()
    return (keys.wal(number), bytes, made.summary)
  }
}

/// The line's bytes to its end are those of `testChunk`, each part by its start and the seed of its chunks.
func expectBytes(_ history: LineHistory, _ seeds: [(LSN, UInt64)]) async throws {
  let end = await history.uploadedLSN
  var bytes: [UInt8] = []
  for try await run in history.readWAL(from: seeds[0].0, to: end) { bytes += run.bytes }
  var expected: [UInt8] = []
  for (index, (from, seed)) in seeds.enumerated() {
    let to = index + 1 < seeds.count ? seeds[index + 1].0 : end
    expected += testBytes(from: from, count: Int(to - from), seed: seed)
  }
  #expect(bytes == expected)
}
