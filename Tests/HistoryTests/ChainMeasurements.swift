import DurableIO
import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// Figures of block indices over the segments in the directory `EXZO_MEASURE_WAL`, which must begin
/// with a record at their first segment's start.
@Suite(
  .enabled(if: ProcessInfo.processInfo.environment["EXZO_MEASURE_WAL"] != nil), .serialized)
struct ChainMeasurements {
  private struct Source: Sendable {
    var start: LSN
    var bytes: [UInt8]
    var megabytes: Double { Double(bytes.count) / 1e6 }
  }

  private func source(segments: Int) throws -> Source {
    let directory = ProcessInfo.processInfo.environment["EXZO_MEASURE_WAL"] ?? ""
    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
      .filter { $0.count == 24 }.sorted()
    var bytes: [UInt8] = []
    for name in names.prefix(segments) {
      bytes += Array(try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)")))
    }
    let first = UInt64(names[0].dropFirst(8).prefix(8), radix: 16)! << 32
    return Source(
      start: LSN(first + UInt64(names[0].suffix(8), radix: 16)! << 24), bytes: bytes)
  }

  /// Seconds of CPU.
  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    var (start, end) = (timespec(), timespec())
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start)
    try body()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end)
    return Double(end.tv_sec - start.tv_sec) + Double(end.tv_nsec - start.tv_nsec) / 1e9
  }

  private func chunks(_ wal: Source, size: Int, observing: Bool) throws -> [WALChunk] {
    var reader = WALStreamReader(format: .v15, startingAtRecord: wal.start)
    return try stride(from: 0, to: wal.bytes.count, by: size).map { position in
      var builder = WALChunkBuilder(
        line: lineA, timeline: TimelineID(1), systemIdentifier: 42,
        startLSN: wal.start + UInt64(position), time: PostgresTimestamp(0))
      let end = min(position + size, wal.bytes.count)
      try wal.bytes[position..<end].withUnsafeBytes { bytes in
        builder.append(bytes)
        _ = try reader.feed(bytes, at: wal.start + UInt64(position)) { record in
          builder.observeRecord(start: record.startLSN, end: record.endLSN)
          if observing { try builder.observeBlocks(of: record) }
        }
      }
      return builder.finish()
    }
  }

  @Test func buildingAnIndex() throws {
    let wal = try source(segments: 16)
    let parsing = try seconds { _ = try chunks(wal, size: 16 << 20, observing: false) }
    var built: [WALChunk] = []
    let observing = try seconds { built = try chunks(wal, size: 16 << 20, observing: true) }
    print("parse \(wal.megabytes / parsing) MB/s, with index \(wal.megabytes / observing) MB/s")
    for partSize in [2, 4, 8, 16, 32] {
      var (raw, stored) = (0, 0)
      let encoding = try seconds {
        for chunk in built {
          let index = chunk.blockRecords!.encoded(
            base: chunk.summary.recordBase, partSize: partSize << 10)
          var envelope = EnvelopeWriter(kind: .walChunk, key: ObjectKey("a"))
          for part in index.parts { try envelope.addPart(type: 32, part) }
          try envelope.addPart(type: 33, index.fence)
          raw += index.parts.reduce(index.fence.count) { $0 + $1.count }
          stored += envelope.takePending().count + 24 * index.parts.count
        }
      }
      let total = Double(wal.bytes.count)
      print(
        "index parts of \(partSize) KiB: \(Double(raw) / total) raw, \(Double(stored) / total) "
          + "stored of the WAL, sorted and compressed at \(wal.megabytes / encoding) MB/s")
    }
  }

  @Test(arguments: [8, 16, 32, 64, 128, 256]) func partSizes(kibibytes: Int) throws {
    let wal = try source(segments: 8)
    for level: Int32 in [1, 3] {
      var envelope = EnvelopeWriter(kind: .walChunk, key: ObjectKey("a"))
      let compressing = try seconds {
        try wal.bytes.withUnsafeBytes { bytes in
          for start in stride(from: 0, to: bytes.count, by: kibibytes << 10) {
            let part = bytes[start..<min(start + (kibibytes << 10), bytes.count)]
            try envelope.addPart(type: 1, UnsafeRawBufferPointer(rebasing: part), level: level)
          }
        }
        try envelope.finish()
      }
      let object = envelope.takePending()
      let reader = try EnvelopeReader(key: ObjectKey("a"), bytes: object, kind: .walChunk)
      var random = SeededRandom(1)
      let reading = try seconds {
        for _ in 0..<3000 {
          _ = try reader.read(Int.random(in: 0..<reader.directory.count, using: &random))
        }
      }
      print(
        "WAL parts of \(kibibytes) KiB, level \(level): "
          + "\(Double(object.count) / Double(wal.bytes.count)) stored, "
          + "\(wal.megabytes / compressing) MB/s, \(reading / 3000 * 1e6) µs a part")
    }
  }

  @Test func lookingUp() async throws {
    let wal = try source(segments: 32)
    try await withTemporaryDirectory { directory in
      let fileSystem = SystemFileSystem()
      let store = try LocalObjectStore(root: "\(directory)/s", fileSystem: fileSystem)
      let writer = try await LineWriter.create(
        testDescription(lineA, start: wal.start),
        environment: testEnvironment(store, directory))
      for chunk in try chunks(wal, size: 2 << 20, observing: true) {
        try await writer.appendChunk(chunk)
      }
      var long = ChunkMergePolicy()
      (long.longAge, long.longSpan) = (.zero, .seconds(86_400))
      for policy in [ChunkMergePolicy(), long] {
        let clock = ContinuousClock.now
        _ = try await writer.mergeChunks(olderThan: .zero, policy: policy)
        let history = try await LineHistory.open(lineA, store: store)
        print("\(await history.chunks.count) chunks, merged in \(ContinuousClock.now - clock)")
        let end = await history.uploadedLSN
        let reader = try await ChainReader.open(
          history, from: wal.start, to: end,
          storage: LayerStorage(store: store, fileSystem: fileSystem),
          cache: ChainCache(indexBytes: 64 << 20, walBytes: 64 << 20))
        try await blocking { try lookUp(reader) }
      }
    }
  }

  private func lookUp(_ reader: ChainReader) throws {
    var keys: [BlockKey] = []
    let (from, to) = (reader.range.lowerBound, reader.range.upperBound)
    let touching = try seconds {
      try reader.blocksTouched(from: from, to: to) {
        keys.append($0)
        return true
      }
    }
    print("\(keys.count) blocks touched, listed in \(touching) s")
    let table = Dictionary(grouping: keys) { $0.relation }.values.max { $0.count < $1.count }!
    var random = SeededRandom(2)
    func measure(_ name: String, _ count: Int, batch: Int, from: LSN) throws {
      var (records, chains) = (0, 0)
      let time = try seconds {
        for _ in 0..<count {
          let start = Int.random(in: 0...table.count - batch, using: &random)
          for chain in try reader.chains(
            of: Array(table[start..<start + batch]), from: from, to: to)
          {
            records += chain.records.count
            chains += 1
          }
        }
      }
      print(
        "\(name), batches of \(batch): \(Int(Double(chains) / time)) chains/s of "
          + "\(Double(records) / Double(chains)) records, \(Int(Double(records) / time)) records/s")
    }
    let recent = LSN(max(from.rawValue, to.rawValue - 32 << 20))
    try measure("all, cold index", 50, batch: 1, from: from)
    for batch in [1, 16, 256, 8192] {
      try measure("all", max(2, 4000 / batch), batch: batch, from: from)
      try measure("last 32 MiB", max(2, 4000 / batch), batch: batch, from: recent)
    }
  }
}
