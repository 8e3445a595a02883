import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Lines that were opened without replay and leave what they were opened from.
@Suite(.serialized, .heavy) struct StandaloneTests {
  private static let fill = """
    CREATE TABLE t (n int PRIMARY KEY, filler text);
    INSERT INTO t SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 20000) AS n;
    CREATE TABLE cut (n int, filler text);
    INSERT INTO cut SELECT n, repeat('x', 300) FROM generate_series(1, 20000) AS n;
    """
  /// Between the complete keyframe and the branch: pages change, a relation is cut and grows again.
  private static let tail = """
    UPDATE t SET filler = repeat(md5(filler), 10) WHERE n % 5 = 0;
    DELETE FROM cut WHERE n > 300; VACUUM (FREEZE) cut;
    INSERT INTO cut SELECT n, repeat('y', 300) FROM generate_series(301, 5000) AS n;
    CREATE INDEX ON cut (n); DELETE FROM t WHERE n > 19000; VACUUM t;
    """

  private func newest(_ engine: Engine, _ line: String) async throws -> Keyframe {
    let history = try await engine.history(line)
    guard let keyframe = await history.keyframes.last else {
      throw CommandFailure(description: "line \(line) has no keyframe")
    }
    return keyframe
  }

  /// Takes away whatever the line's newest keyframe does not name and its own WAL does not need.
  private func removeWhatIsLeftBehind(
    _ engine: Engine, by line: String, _ former: String
  ) async throws {
    let keyframe = try await newest(engine, line)
    let named = Set(
      keyframe.layers.flatMap { layer in
        layer.objects.indices.map { layer.key(ofObject: $0).name }
      })
    for key in try await engine.objects("wal", of: former) + engine.objects("keyframes", of: former)
      + engine.objects("layers", of: former) where !named.contains(key)
    {
      try await engine.store.delete(.init(key))
    }
  }

  private func expectSame(_ engine: Engine, _ line: String, _ other: String) async throws {
    let (left, right) = (engine.connection(line), engine.connection(other))
    let differences = try await onThread { try DumpComparison.differences(left, right) }
    #expect(differences == [])
    let failures = try await onThread { try AmCheck.failures(on: right) }
    #expect(failures == [])
  }

  @Test func aLineIsWholeWithoutWhatItWasOpenedFrom() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .always }
      try engine.psql(root, Self.fill)
      try await engine.keyframe(root)
      try engine.psql(root, Self.tail)
      let (child, status) = try await engine.open(root, at: try await engine.head(root)) {
        $0.opening = .lazy
        $0.completeLayers = .always
      }
      #expect(status.opening == .lazy)
      try await engine.waitForLog(child, "pages made ahead of reads", seconds: 30)
      try engine.psql(child, "UPDATE t SET filler = 'own' WHERE n % 7 = 0; CHECKPOINT")
      try await engine.keyframe(child)
      let alone = try await newest(engine, child)
      #expect(alone.isComplete && alone.layers.count <= 4)
      #expect(alone.oldestRedoLSN >= status.startLSN ?? alone.redoLSN)

      // Moments after it open both ways, and are the line.
      try engine.psql(child, "DELETE FROM cut WHERE n % 3 = 0; INSERT INTO t VALUES (-1, 'late')")
      for way in [OpeningWay.lazy, .replay] {
        let (grandchild, opened) = try await engine.open(child, at: try await engine.head(child)) {
          $0.opening = way
        }
        #expect(opened.opening == (way == .lazy ? .lazy : .replay))
        try await expectSame(engine, child, grandchild)
        try await engine.fleet.destroy(line: grandchild)
      }

      // Openings write whole segments: now none of the parent's is among them.
      try engine.psql(child, "SELECT pg_switch_wal(); CHECKPOINT")
      try await engine.keyframe(child)
      // From its next wake on its volume reads nothing from before, either.
      let rows = "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t"
      let cut = "SELECT count(*), sum(hashtext(cut::text)::bigint) FROM cut"
      let expected = try [rows, cut].map { try engine.psql(child, $0) }
      try await engine.fleet.suspend(line: child)
      try await engine.fleet.suspend(line: root)
      try await removeWhatIsLeftBehind(engine, by: child, root)
      try await engine.wake(child)
      #expect(try [rows, cut].map { try engine.psql(child, $0) } == expected)
      try engine.psql(child, "INSERT INTO cut SELECT n, 'z' FROM generate_series(1, 30000) AS n")
      let failures = try await onThread { [engine] in
        try AmCheck.failures(on: engine.connection(child))
      }
      #expect(failures == [])
      let (last, _) = try await engine.open(child, at: try await engine.head(child))
      try await expectSame(engine, child, last)
    }
  }
}
