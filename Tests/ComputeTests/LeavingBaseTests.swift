import DurableIO
import Foundation
import History
import PostgresFormat
import Synchronization
import TestSupport
import Testing

@testable import Compute

/// Volumes that leave what they were opened from while a server runs on them.
@Suite(.serialized, .heavy) struct LeavingBaseTests {
  private static let fill = """
    CREATE TABLE t (n int PRIMARY KEY, filler text);
    INSERT INTO t SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 12000) AS n;
    CREATE TABLE cut (n int, filler text);
    INSERT INTO cut SELECT n, repeat('x', 300) FROM generate_series(1, 8000) AS n;
    """
  /// Between the complete keyframe and the branch.
  private static let tail = """
    UPDATE t SET filler = repeat(md5(filler), 10) WHERE n % 5 = 0;
    DELETE FROM cut WHERE n > 300; VACUUM (FREEZE) cut;
    INSERT INTO cut SELECT n, repeat('y', 300) FROM generate_series(301, 3000) AS n;
    DELETE FROM t WHERE n > 11000;
    """
  private static let sums = [
    "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t",
    "SELECT count(*), sum(hashtext(cut::text)::bigint) FROM cut",
  ]

  /// A root and a child of it that was opened without replay, whose pages are made.
  private func open(
    _ engine: Engine, pausing step: AgentSpecification.BaseStep? = nil
  ) async throws -> (root: String, child: String) {
    let root = try await engine.openRoot { $0.completeLayers = .always }
    try engine.psql(root, Self.fill)
    try await engine.keyframe(root)
    try engine.psql(root, Self.tail)
    let (child, status) = try await engine.open(root, at: try await engine.head(root)) {
      $0.opening = .lazy
      $0.completeLayers = .always
      $0.pausesLeavingBase = step
      // Reads of the tables get as far as the volume.
      $0.settings.sharedBuffersMegabytes = 1
    }
    #expect(status.opening == .lazy)
    try await engine.fleet.suspend(line: root)
    try await engine.waitForLog(child, "pages made ahead of reads")
    #expect(try await holdsMadePages(engine, child))
    return (root, child)
  }

  /// What the child needs stays, the rest of the store goes; no branch points to the root any more.
  private func collect(_ engine: Engine, _ child: String) async throws {
    var policy = RetentionPolicy()
    (policy.grace, policy.margin) = (.zero, .zero)
    let head = try await engine.history(child).uploadedLSN
    var demands: [LineID: LineDemand] = [:]
    for line in try await HistoryCatalog.listLines(engine.store) {
      let isChild = line.id.rawValue == child
      demands[line.id] = LineDemand(
        window: isChild ? .from(head) : line.parent == nil ? .everything : nil)
    }
    let environment = HistoryEnvironment(
      store: engine.store, fileSystem: SystemFileSystem(), threads: BlockingThreads(count: 2),
      spoolDirectory: engine.directory)
    for _ in 0..<4 {
      let collector = HistoryCollector(environment: environment, policy: policy)
      _ = try await collector.collect(demands)
    }
  }

  /// As the volume gives them: nothing of the files stays in the page cache before.
  private func sums(_ engine: Engine, _ line: String) throws -> [String] {
    let data = engine.fleet.directory(line: line).mountPoint + "/base"
    for path in try FileManager.default.subpathsOfDirectory(atPath: data) {
      let descriptor = Glibc.open("\(data)/\(path)", O_RDONLY)
      guard descriptor >= 0 else { continue }  // gone since it was listed
      posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
      close(descriptor)
    }
    return try Self.sums.map { try engine.psql(line, $0) }
  }

  private func holdsMadePages(_ engine: Engine, _ line: String) async throws -> Bool {
    let pid = try #require(await engine.fleet.client(line: line).status()?.agentPID)
    let manager = FileManager.default
    return try manager.contentsOfDirectory(atPath: "/proc/\(pid)/fd").contains { name in
      // One that was closed meanwhile has no target.
      let target = try? manager.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\(name)")
      return target?.contains("made-pages") ?? false
    }
  }

  private func expectSound(_ engine: Engine, _ line: String) async throws {
    let failures = try await onThread { try AmCheck.failures(on: engine.connection(line)) }
    #expect(failures == [])
  }

  @Test func whatOnlyTheBaseNeededGoesWhileTheServerRuns() async throws {
    try await withEngine { engine in
      let (root, child) = try await open(engine)
      let expected = try sums(engine, child)
      try await collect(engine, child)
      #expect(try await !engine.objects("wal", of: root).isEmpty)

      // Readers never see anything else while the base is left under them.
      let isOver = Atomic<Bool>(false)
      let reading = Task {
        var rounds = 0
        while !isOver.load(ordering: .relaxed) {
          let found = try await onThread { try sums(engine, child) }
          #expect(found == expected)
          rounds += 1
        }
        return rounds
      }
      let server = await engine.fleet.client(line: child).status()?.serverPID
      try engine.psql(child, "CREATE TABLE own AS SELECT 1 AS n; SELECT pg_switch_wal()")
      try await engine.keyframe(child)
      try await engine.waitForLog(child, "the line's base is left")
      // The made pages' file has no name: it goes with the last that holds it.
      for _ in 0..<500 where try await holdsMadePages(engine, child) { usleep(20_000) }
      #expect(try await !holdsMadePages(engine, child))
      try engine.psql(child, "CHECKPOINT")
      try await engine.keyframe(child)
      try await collect(engine, child)
      #expect(try await engine.objects("wal", of: root) == [])
      #expect(try await engine.objects("keyframes", of: root) == [])
      isOver.store(true, ordering: .relaxed)
      #expect(try await reading.value > 0)
      #expect(try sums(engine, child) == expected)
      #expect(await engine.fleet.client(line: child).status()?.serverPID == server)

      // Its own history is whole: a moment of it opens, and it wakes.
      try engine.psql(child, "UPDATE t SET filler = 'later' WHERE n % 9 = 0")
      try await expectSound(engine, child)
      let later = try sums(engine, child)
      let (grandchild, _) = try await engine.open(child, at: try await engine.head(child))
      #expect(try sums(engine, grandchild) == later)
      try await engine.fleet.suspend(line: child)
      try await engine.wake(child)
      #expect(try sums(engine, child) == later)
      try await expectSound(engine, child)
    }
  }

  @Test(arguments: AgentSpecification.BaseStep.allCases)
  func killedAtAnyStepNothingIsMissing(_ step: AgentSpecification.BaseStep) async throws {
    try await withEngine { engine in
      let (root, child) = try await open(engine, pausing: step)
      let expected = try sums(engine, child)
      try engine.psql(
        child, "CREATE TABLE own AS SELECT 1 AS n; SELECT pg_switch_wal(); CHECKPOINT")
      try await engine.keyframe(child)
      try await engine.waitForLog(child, "stands still while it leaves its base")
      // What the volume reads at this step stays, and can be read.
      try await collect(engine, child)
      #expect(try await engine.objects("wal", of: root).isEmpty == (step == .confirmed))
      #expect(try sums(engine, child) == expected)

      try await engine.killAgent(child)
      try await engine.wake(child)
      #expect(try sums(engine, child) == expected)
      try engine.psql(child, "CHECKPOINT")
      try await engine.keyframe(child)
      try await collect(engine, child)
      #expect(try await engine.objects("wal", of: root) == [])
      #expect(try sums(engine, child) == expected)
      try await expectSound(engine, child)
    }
  }
}
