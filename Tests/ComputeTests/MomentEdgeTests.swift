import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Moments at places where an opening could slip by one.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct MomentEdgeTests {
  /// Page and segment edges, one byte to either side of them, and inside records.
  @Test func momentsAtPageAndSegmentEdgesAndInsideRecords() async throws {
    try await withEngine { engine in
      let scene = try await MarkedLine(engine)
      var random = SeededRandom(seed: 31)
      let summary = try await scene.summary()
      let segment = LSN(scene.to.rawValue / (16 << 20) * (16 << 20))
      try #require(segment > scene.from, "no segment edge between \(scene.from) and \(scene.to)")
      let middle = LSN((scene.from.rawValue + segment.rawValue) / 2)
      let page = LSN(middle.rawValue / 8192 * 8192)
      let record = try #require(summary.recordStarts.randomElement(using: &random))
      for target in [
        LSN(segment.rawValue - 1), segment, segment + 40, page, page + 1, record + 1, record + 25,
      ] {
        try await scene.check(at: target)
      }
    }
  }

  /// The page is split and its parent does not know yet: what the next insert would have mended.
  @Test func momentsInTheMiddleOfIndexSplits() async throws {
    try await withEngine { engine in
      let scene = try await MarkedLine(engine)
      let wal = try await engine.exportWAL(of: scene.line, from: scene.from, to: scene.to)
      let ends = try WALSummary.ends(
        ofRecordsOf: "Btree", saying: "SPLIT_", directory: wal, from: scene.from, to: scene.to)
      try #require(ends.count > 20, "the work split only \(ends.count) pages")
      for end in [ends[ends.count / 3], ends[ends.count - 2]] {
        try await scene.check(at: end) { branch in
          // Inserts descend through the half-made split and finish it.
          try engine.psql(
            branch, "INSERT INTO keys SELECT md5(n::text) FROM generate_series(1, 20000) AS n")
          #expect(try AmCheck.failures(on: engine.connection(branch)) == [], "split at \(end)")
        }
      }
    }
  }

  @Test func momentsExactlyAtAKeyframeAndAroundIt() async throws {
    try await withEngine { engine in
      let scene = try await MarkedLine(engine)
      let keyframes = try await engine.history(scene.line).keyframes.filter {
        scene.from < $0.redoLSN && $0.consistentLSN < scene.to
      }
      let keyframe = try #require(keyframes.last, "no keyframe was made meanwhile")
      for target in [
        keyframe.consistentLSN, LSN(keyframe.consistentLSN.rawValue - 1),
        keyframe.consistentLSN + 1, keyframe.redoLSN, keyframe.checkpointLSN,
      ] {
        try await scene.check(at: target)
      }
    }
  }

  /// The first moment a project has, and the same after its agent was killed.
  @Test func momentsRightAfterCreationAndAfterTheAgentWasKilled() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      let status = try #require(await engine.fleet.client(line: root).status())
      let first = try #require(status.startLSN)
      for moment in [first, try await engine.head(root)] {
        try await engine.withBranch(of: root, at: moment) { branch, _ in
          #expect(try engine.psql(branch, "SELECT count(*) FROM pg_class") != "0")
          try engine.psql(branch, "CREATE TABLE own AS SELECT 1")
        }
      }
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
      let before = try await engine.head(root)
      try engine.psql(root, "INSERT INTO t SELECT generate_series(1001, 2000)")
      try await engine.killAgent(root)
      // The WAL that the agent had not stored is in the spool; a start brings it to the store.
      try await engine.wake(root)
      #expect(try engine.psql(root, "SELECT count(*) FROM t") == "2000")
      let after = try await engine.head(root)
      for (moment, rows) in [(before, "1000"), (after, "2000")] {
        try await engine.withBranch(of: root, at: moment) { branch, _ in
          let found = try engine.psql(branch, "SELECT count(*) FROM t")
          #expect(found == rows)
        }
      }
    }
  }

  @Test func twoBranchesOfOneMomentOpenedAtOnceShareNothing() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 5000) AS n")
      let moment = try await engine.head(root)
      async let one = engine.open(root, at: moment)
      async let other = engine.open(root, at: moment)
      let (left, right) = try await (one.line, other.line)
      try engine.psql(left, "UPDATE t SET n = -n; CREATE TABLE only_left AS SELECT 1")
      #expect(try engine.psql(right, "SELECT min(n), count(*) FROM t") == "1|5000")
      // A branch of each, at its head: the two lines went different ways from one point on.
      let (leftHead, rightHead) = (try await engine.head(left), try await engine.head(right))
      try await engine.withBranch(of: left, at: leftHead) { branch, _ in
        let found = try engine.psql(branch, "SELECT min(n) FROM t")
        #expect(found == "-5000")
      }
      try await engine.withBranch(of: right, at: rightHead) { branch, _ in
        let found = try engine.psql(branch, "SELECT min(n), to_regclass('only_left') FROM t")
        #expect(found == "1|")
      }
      let systems = try [root, left, right].map {
        try engine.psql($0, "SELECT system_identifier FROM pg_control_system()")
      }
      #expect(Set(systems).count == 3, "lines share a system identifier: \(systems)")
    }
  }
}

/// A line with marks taken while its indexes grew over several WAL segments.
struct MarkedLine {
  let engine: Engine
  let line: String
  let from: LSN
  let to: LSN
  private let marks: MomentMarks

  init(_ engine: Engine) async throws {
    self.engine = engine
    line = try await engine.openRoot()
    let connection = engine.connection(line)
    try connection.psql("CREATE TABLE keys (k text); CREATE INDEX ON keys (k)")
    marks = try MomentMarks(on: connection)
    from = try await engine.head(line)
    let rounds = 8
    for round in 0..<rounds {
      _ = try marks.take()
      try connection.psql(
        """
        INSERT INTO keys SELECT md5((n * \(rounds) + \(round))::text)
          FROM generate_series(1, 12000) AS n
        """)
      if round == rounds / 2 { try await engine.keyframe(line) }
    }
    _ = try marks.take()
    to = try await engine.head(line)
  }

  func summary() async throws -> WALSummary {
    let wal = try await engine.exportWAL(of: line, from: from, to: to)
    return try WALSummary(directory: wal, from: from, to: to)
  }

  /// Opens the moment: every mark is on its side of it, every index agrees with its table.
  func check(at target: LSN, _ further: (String) async throws -> Void = { _ in }) async throws {
    try await engine.withBranch(of: line, at: target) { branch, status in
      let copy = engine.connection(branch)
      let opened = try #require(status.startLSN)
      #expect(opened <= target, "opened at \(opened), asked for \(target)")
      #expect(try marks.failures(on: copy, at: target) == [], "at \(target)")
      #expect(try AmCheck.failures(on: copy) == [], "at \(target)")
      try await further(branch)
    }
  }
}
