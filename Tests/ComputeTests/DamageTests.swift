import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import Compute
@testable import History

/// Objects damaged in the store, and the moment opened from what is left.
///
/// Whatever is lost, nothing wrong is served: the opening is refused, or the read of the damaged
/// page, with the object named; or what is left suffices and everything is right.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct DamageTests {
  @Test func aDamagedChunkOfTheTailIsRefusedByName() async throws {
    try await withEngine { engine in
      let scene = try await DamageScene(engine)
      let chunk = try await scene.chunkOfTheTail()
      // Opening needs the WAL, what finds blocks in it, and what the chunk says of itself; the
      // index of blocks that nobody asks for and the activity of its minutes are not even read.
      let needed = [WALChunkPartType.bytes, WALChunkPartType.blockFence, WALChunkPartType.summary]
      for (type, place) in try scene.middles(of: chunk) {
        let verdict = try await scene.verdict(after: .flip(at: place), on: chunk)
        #expect(
          verdict.names(chunk) || (verdict == .right && !needed.contains(type)),
          "bit flipped in a part of type \(type): \(verdict)")
      }
      for damage in [Damage.halve, .remove, .replace(by: try await scene.otherChunk(than: chunk))] {
        let verdict = try await scene.verdict(after: damage, on: chunk)
        // Where a chunk is lost, the error says which WAL is missing and what stands beside it.
        #expect(
          verdict.names(chunk) || (damage == .remove && verdict.names(scene.root)),
          "\(damage): \(verdict)")
      }
      #expect(try await scene.verdict(after: .none, on: chunk) == .right)
    }
  }

  @Test func aDamagedLayerIsRefusedByNameOrDoesNotMatter() async throws {
    try await withEngine { engine in
      let scene = try await DamageScene(engine)
      let layers = try await scene.layersOfTheMoment()
      let layer = try #require(layers.first)
      var verdicts: [Verdict] = []
      for place in [0.02, 0.2, 0.4, 0.6, 0.8, 0.98] {
        let verdict = try await scene.verdict(after: .flip(at: place), on: layer)
        #expect(verdict == .right || verdict.names(layer), "bit flipped at \(place): \(verdict)")
        verdicts.append(verdict)
      }
      #expect(verdicts.contains { $0 != .right }, "no flipped bit was ever read")
      for damage in [Damage.halve, .remove, .replace(by: layers[layers.count - 1])]
      where damage != .replace(by: layer) {
        let verdict = try await scene.verdict(after: damage, on: layer)
        #expect(verdict.names(layer), "\(damage): \(verdict)")
      }
      #expect(try await scene.verdict(after: .none, on: layer) == .right)
    }
  }

  @Test func damagedRecordsOfALineAreRefusedByNameOrDoNotMatter() async throws {
    try await withEngine { engine in
      let scene = try await DamageScene(engine)
      var keys = ["lines/\(scene.root)/line"]
      for kind in ["keyframes", "manifest", "owner"] {
        let found = try await engine.objects(kind, of: scene.root)
        if let last = found.last { keys.append(last) }
      }
      for key in keys {
        for damage in [Damage.flip(at: 0.5), .halve, .remove] {
          let verdict = try await scene.verdict(after: damage, on: key)
          #expect(
            verdict == .right || verdict.names(scene.root), "\(damage) on \(key): \(verdict)")
          // An owner may hide a take-over, and without a description there is no line.
          if damage == .halve, key.hasSuffix("/line") || key.contains("/owner/") {
            #expect(verdict.names(key), "\(damage) on \(key): \(verdict)")
          }
        }
      }
      #expect(try await scene.verdict(after: .none, on: keys[0]) == .right)
    }
  }
}

/// What happens to an object's bytes.
enum Damage: Equatable {
  case none, halve, remove
  /// One bit, at a part of the length.
  case flip(at: Double)
  /// The bytes of another object.
  case replace(by: String)
}

/// How an opening on damaged history ended.
enum Verdict: Equatable {
  case right
  /// Not opened, with the error.
  case refused(String)
  /// Opened; reading ended in an error. With what client, server and agent said.
  case unreadable(String)
  /// Opened and read, and it is not what was there.
  case wrong(String)

  func names(_ object: String) -> Bool {
    switch self {
    case .refused(let said), .unreadable(let said): said.contains(object)
    case .right, .wrong: false
    }
  }
}

/// A line that was worked on, with a moment that needs a keyframe's layers and a tail of chunks.
struct DamageScene {
  let engine: Engine
  let root: String
  let moment: LSN
  private let expected: String
  private let tail: Range<LSN>

  private static let fingerprint =
    """
    SELECT count(*), sum(hashtext(a::text)::bigint) FROM pgbench_accounts AS a;
    SELECT count(*), sum(hashtext(h::text)::bigint) FROM pgbench_history AS h;
    SELECT count(*), sum(hashtext(n::text)::bigint) FROM noise AS n;
    SELECT count(*) FROM pg_class
    """

  init(_ engine: Engine) async throws {
    self.engine = engine
    let root = try await engine.openRoot()
    self.root = root
    try engine.pgbench(root, ["-i", "-q", "-s", "1"])
    try engine.psql(
      root, "CREATE TABLE noise AS SELECT md5(n::text) AS b FROM generate_series(1, 20000) AS n")
    try await engine.keyframe(root)
    let history = try await engine.history(root)
    let redo = try #require(await history.keyframes.last).redoLSN
    // Several chunks: each waits for the one before it to be stored.
    for _ in 0..<4 {
      try engine.pgbench(root, ["-n", "-c", "2", "-t", "150"])
      _ = try await engine.head(root)
    }
    moment = try await engine.head(root)
    tail = redo..<moment
    expected = try engine.psql(root, Self.fingerprint)
    try await engine.fleet.suspend(line: root)
  }

  /// A chunk in the middle of the tail.
  func chunkOfTheTail() async throws -> String {
    let middle = tail.lowerBound + (tail.upperBound - tail.lowerBound) / 2
    let chunks = try await engine.history(root).chunks
    let chunk = try #require(chunks.first { $0.startLSN <= middle && middle < $0.endLSN })
    return "lines/\(root)/wal/\(chunk.number)"
  }

  /// The middle of the object's middle part of each type, as a part of its length.
  func middles(of key: String) throws -> [(type: UInt8, place: Double)] {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: engine.file(key))))
    let envelope = try EnvelopeReader(key: ObjectKey(key), bytes: bytes, kind: .walChunk)
    let entries = (0..<envelope.directory.count).map { envelope.directory[$0] }
    return Dictionary(grouping: entries, by: \.type).sorted { $0.key < $1.key }.map {
      let part = $0.value[$0.value.count / 2]
      let middle = Double(part.offset) + Double(part.storedLength / 2) + 0.5
      return ($0.key, middle / Double(bytes.count))
    }
  }

  func otherChunk(than key: String) async throws -> String {
    try #require(try await engine.objects("wal", of: root).last { $0 != key })
  }

  /// Layers that the moment is opened from, newest first.
  func layersOfTheMoment() async throws -> [String] {
    let history = try await engine.history(root)
    let keyframe = try await history.seek(
      .lsn(moment), now: HistoryEnvironment.systemTime()
    ).keyframe
    return keyframe.layers.flatMap { layer in
      layer.objects.indices.map { layer.key(ofObject: $0).name }
    }
  }

  /// Opens the moment with the object damaged, reads all of it, and mends the object.
  func verdict(after damage: Damage, on key: String) async throws -> Verdict {
    let path = try engine.file(key)
    let whole = try Data(contentsOf: URL(fileURLWithPath: path))
    try apply(damage, to: path, whole)
    let verdict = await self.verdict()
    try whole.write(to: URL(fileURLWithPath: path))
    return verdict
  }

  private func apply(_ damage: Damage, to path: String, _ whole: Data) throws {
    let url = URL(fileURLWithPath: path)
    switch damage {
    case .none: return
    case .halve: try whole.prefix(whole.count / 2).write(to: url)
    case .remove: try FileManager.default.removeItem(at: url)
    case .flip(let place):
      var bytes = [UInt8](whole)
      bytes[Int(Double(bytes.count) * place)] ^= 0x04
      try Data(bytes).write(to: url)
    case .replace(let other):
      try Data(contentsOf: URL(fileURLWithPath: engine.file(other))).write(to: url)
    }
  }

  private func verdict() async -> Verdict {
    let branch = LineID { UInt64.random(in: 0 ... .max) }.rawValue
    let verdict: Verdict
    do {
      _ = try await engine.fleet.start(
        engine.specification(line: branch, parent: root, lsn: moment))
      do {
        let found = try engine.psql(branch, Self.fingerprint)
        verdict = found == expected ? .right : .wrong(found)
      } catch { verdict = .unreadable("\(error)\n\(engine.logs(branch))") }
    } catch { verdict = .refused("\(error)") }
    // What the attempt left must not stand in the next one's way; its end is no part of the claim.
    do { try await engine.fleet.destroy(line: branch) } catch { await engine.end(branch) }
    return verdict
  }
}
