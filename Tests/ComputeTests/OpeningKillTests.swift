import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// The agent killed at every step of opening a moment: the next start opens it right, and nothing
/// of the first stays behind.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct OpeningKillTests {
  @Test func anOpeningKilledAtAnyStepIsBegunAnewAndRight() async throws {
    try await withEngine { engine in
      let scene = try await OpeningScene(engine)
      var reached: Set<OpeningStep> = []
      for step in OpeningStep.allCases {
        if try await scene.killAndOpenAgain(when: { step.isReached($0) }) { reached.insert(step) }
      }
      // A machine may race past a step or two; that most of them were hit is the point.
      #expect(reached.count >= OpeningStep.allCases.count - 2, "only \(reached)")
    }
  }

  /// Whatever steps there are, also later: kills spread evenly over the time an opening takes.
  @Test func anOpeningKilledAtAnyTimeIsBegunAnewAndRight() async throws {
    try await withEngine { engine in
      let scene = try await OpeningScene(engine)
      let begun = ContinuousClock.now
      try await engine.withBranch(of: scene.root, at: scene.moment) { _, _ in }
      let whole = ContinuousClock.now - begun
      let count = Int(ProcessInfo.processInfo.environment["EXZO_OPENING_KILLS"] ?? "") ?? 8
      for number in 1...count {
        let start = ContinuousClock.now
        _ = try await scene.killAndOpenAgain(when: { _ in
          ContinuousClock.now - start >= whole * number / (count + 1)
        })
      }
    }
  }

  /// Given up instead of tried again: nothing is mounted, nothing runs, and the parent is well.
  @Test func anOpeningKilledAndGivenUpLeavesNothing() async throws {
    try await withEngine { engine in
      let scene = try await OpeningScene(engine)
      for step in [OpeningStep.volume, .mounted, .server] {
        let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
        _ = try await scene.kill(line, when: { step.isReached($0) })
        try await engine.fleet.destroy(line: line)
        #expect(try engine.remains(of: line) == [], "killed at \(step)")
        #expect(!FileManager.default.fileExists(atPath: engine.fleet.directory(line: line).path))
      }
      #expect(try engine.psql(scene.root, "SELECT count(*) FROM t") == "5000")
    }
  }
}

/// What can be seen from outside of an opening under way.
enum OpeningStep: CaseIterable {
  case lock, plan, volume, tail, mounted, server, replay, ready, opened

  func isReached(_ directory: LineDirectory) -> Bool {
    let files = FileManager.default
    switch self {
    case .lock: return files.fileExists(atPath: directory.agentLock)
    case .plan: return files.fileExists(atPath: "\(directory.path)/opening.json")
    case .volume: return files.fileExists(atPath: "\(directory.volume)/log")
    case .tail: return files.enumerator(atPath: directory.wal)?.nextObject() != nil
    case .mounted: return isMounted(directory.mountPoint)
    case .server: return !processes(workingIn: directory.mountPoint).isEmpty
    case .replay: return log(directory).contains("redo starts at")
    case .ready: return log(directory).contains("ready to accept connections")
    case .opened: return files.fileExists(atPath: directory.openedMarker)
    }
  }

  private func log(_ directory: LineDirectory) -> String {
    String(
      decoding: FileManager.default.contents(atPath: directory.serverLog) ?? Data(), as: UTF8.self)
  }

  private func isMounted(_ path: String) -> Bool {
    let table = FileManager.default.contents(atPath: "/proc/self/mounts") ?? Data()
    return String(decoding: table, as: UTF8.self).contains(" \(path) ")
  }
}

/// A parent at work, and a moment of it with a tail to replay.
private struct OpeningScene {
  let engine: Engine
  let root: String
  let moment: LSN

  init(_ engine: Engine) async throws {
    self.engine = engine
    root = try await engine.openRoot()
    try engine.psql(root, "CREATE TABLE t (n int PRIMARY KEY, b text)")
    try await engine.keyframe(root)
    try engine.psql(
      root, "INSERT INTO t SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 5000) AS n")
    moment = try await engine.head(root)
    try engine.psql(root, "CREATE TABLE later (n int)")
  }

  /// Opens the moment, kills its agent when `isDue`, opens it again and checks it.
  ///
  /// - Returns: whether the kill came before the opening was through.
  func killAndOpenAgain(when isDue: @escaping @Sendable (LineDirectory) -> Bool) async throws
    -> Bool
  {
    let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
    let wasInTime = try await kill(line, when: isDue)
    let specification = engine.specification(line: line, parent: root, lsn: moment)
    _ = try await engine.fleet.start(specification)
    let found = try engine.psql(
      line, "SELECT count(*), sum(length(b)), to_regclass('later') IS NULL FROM t")
    #expect(found == "5000|1280000|t")
    #expect(try AmCheck.failures(on: engine.connection(line)) == [])
    try engine.psql(line, "INSERT INTO t VALUES (0, 'own')")
    try await engine.fleet.destroy(line: line)
    #expect(try engine.remains(of: line) == [])
    return wasInTime
  }

  /// Starts to open the moment as `line` and kills the agent as soon as `isDue`.
  func kill(
    _ line: String, when isDue: @escaping @Sendable (LineDirectory) -> Bool
  ) async throws -> Bool {
    let fleet = engine.fleet
    let directory = fleet.directory(line: line)
    let specification = engine.specification(line: line, parent: root, lsn: moment)
    let opening = Task { try await fleet.start(specification) }
    let agent = try await onThread {
      for _ in 0..<60_000 {
        // Not there yet, or not written yet: looked at again.
        if let text = try? String(contentsOfFile: directory.agentLock, encoding: .utf8),
          let pid = pid_t(text.prefix { $0.isNumber }), isDue(directory)
        {
          return pid
        }
        usleep(500)
      }
      throw CommandFailure(description: "open \(line): the step was not reached within 30 s")
    }
    Glibc.kill(agent, SIGKILL)
    do {
      _ = try await opening.value
      return false
    } catch {
      return true
    }
  }
}
