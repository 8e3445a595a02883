import Foundation
import History
import Logging
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// What may happen to a branch that was opened without replay, and to what it reads from.
@Suite(.serialized, .heavy) struct LazySituationTests {
  private static let fill = """
    CREATE TABLE t (n int PRIMARY KEY, filler text);
    INSERT INTO t SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 40000) AS n;
    """
  private static let sum = "SELECT count(*), sum(n), sum(hashtext(filler)::bigint) FROM t"

  private func head(_ engine: Engine, _ line: String) async throws -> LSN {
    try await engine.fleet.client(line: line).head()
  }

  private func open(
    _ engine: Engine, _ line: String, at lsn: LSN
  ) async throws -> (line: String, status: AgentStatus) {
    try await engine.open(line, at: lsn) {
      $0.opening = .lazy
      $0.completeLayers = .never
    }
  }

  /// As restores in place follow each other within minutes: each line is opened from the one before, which had no
  /// time yet to gather the layers below it.
  @Test func aRowOfBranchesEachOpenedFromTheOneBefore() async throws {
    try await withEngine { engine in
      var line = try await engine.openRoot()
      try engine.psql(line, LazySituationTests.fill)
      for level in 1...10 {
        try engine.psql(line, "UPDATE t SET n = n WHERE n % 10 = \(level - 1)")
        _ = try await engine.fleet.client(line: line).ask(.keyframe, timeout: 60)
        try engine.psql(line, "INSERT INTO t VALUES (\(-level), 'level')")
        let (next, status) = try await engine.open(line, at: try await head(engine, line)) {
          $0.opening = .lazy
        }
        #expect(status.opening == .lazy, "level \(level)")
        let found = try engine.psql(next, "SELECT count(*) FROM t WHERE n < 0")
        #expect(found == "\(level)")
        try await engine.fleet.suspend(line: line)
        line = next
      }
    }
  }

  /// The free space map is not in WAL: what it tells must fit the relation, also where that was shortened.
  @Test(arguments: [false, true]) func rowsFindPlaceAfterATruncation(
    _ hasKeyframe: Bool
  ) async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .always }
      try engine.psql(root, LazySituationTests.fill)
      try engine.psql(root, "DELETE FROM t WHERE n % 2 = 0; VACUUM t")
      _ = try await engine.fleet.client(line: root).ask(.keyframe, timeout: 60)
      let (middle, _) = try await open(engine, root, at: try await head(engine, root))
      try engine.psql(middle, "DELETE FROM t WHERE n > 3000; VACUUM (FREEZE) t")
      if hasKeyframe { _ = try await engine.fleet.client(line: middle).ask(.keyframe, timeout: 60) }
      try engine.psql(middle, "INSERT INTO t VALUES (100000, 'last')")
      let (branch, status) = try await open(engine, middle, at: try await head(engine, middle))
      #expect(status.opening == .lazy)
      for offset in [200_000, 300_000] {
        try engine.psql(
          branch,
          """
          INSERT INTO t SELECT n + \(offset), repeat(md5(n::text), 10) FROM generate_series(1, 20000) AS n
          """)
      }
      #expect(try engine.psql(branch, "SELECT count(*) FROM t") == "41501")
      let counts = try engine.psql(
        branch,
        """
        VACUUM t; SET enable_seqscan = off; SELECT count(n) FROM t WHERE n > 0;
        SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
        SET enable_bitmapscan = off; SELECT count(n) FROM t WHERE n > 0
        """)
      #expect(counts == "41501\n41501")
      #expect(try AmCheck.failures(on: engine.connection(branch)) == [])
    }
  }

  /// An image cut between an unlogged table's main fork and its init fork holds the first alone.
  @Test(arguments: [OpeningWay.lazy, .replay])
  func aMainForkWithoutItsInitForkIsLeftOut(_ way: OpeningWay) async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .always }
      try engine.psql(root, "CREATE TABLE a (n int); CREATE TABLE b (n int)")
      let path = try engine.psql(
        root,
        """
        SELECT replace(pg_relation_filepath('b'), b.relfilenode::text,
          (2 * b.relfilenode::bigint - a.relfilenode::bigint)::text)
        FROM pg_class a, pg_class b WHERE a.relname = 'a' AND b.relname = 'b'
        """)
      // The name that the next table will get: as long as a file has it, it would get another.
      let file = "\(engine.fleet.directory(line: root).mountPoint)/\(path)"
      try Data(repeating: 0, count: 8192).write(to: URL(fileURLWithPath: file))
      try await engine.keyframe(root)
      try FileManager.default.removeItem(atPath: file)
      try engine.psql(root, "CREATE UNLOGGED TABLE u (n int); INSERT INTO u VALUES (1)")
      #expect(try engine.psql(root, "SELECT pg_relation_filepath('u')") == path)
      try engine.psql(root, "INSERT INTO a VALUES (7)")
      let (branch, status) = try await engine.open(root, at: try await head(engine, root)) {
        $0.opening = way
      }
      #expect(status.opening == way)
      #expect(try engine.psql(branch, "SELECT n FROM a UNION ALL SELECT n FROM u") == "7")
      #expect(try engine.psql(branch, "INSERT INTO u VALUES (2); SELECT n FROM u") == "2")
    }
  }

  /// Woken after a suspension and after its agent was killed, whatever became of the file of changed blocks.
  @Test func branchesWakeWithTheirOwnChanges() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      _ = try await engine.fleet.client(line: root).ask(.keyframe, timeout: 60)
      try engine.psql(root, "UPDATE t SET filler = 'x' WHERE n % 7 = 0")
      let (branch, _) = try await open(engine, root, at: try await head(engine, root))
      let specification = try #require(try engine.fleet.specification(line: branch))
      let changed = engine.fleet.directory(line: branch).changedBlocks
      for round in 0..<4 {
        try engine.psql(branch, "UPDATE t SET filler = 'round \(round)' WHERE n % 11 = \(round)")
        let expected = try engine.psql(branch, LazySituationTests.sum)
        let bytes = FileManager.default.contents(atPath: changed)
        try await engine.fleet.suspend(line: branch)
        switch round {
        case 0: break
        case 1: try FileManager.default.removeItem(atPath: changed)
        case 2: try Data([1, 2, 3]).write(to: URL(fileURLWithPath: changed))
        default: try bytes?.write(to: URL(fileURLWithPath: changed))
        }
        let status = try await engine.fleet.start(specification)
        #expect(status.opening == nil)
        #expect(try engine.psql(branch, LazySituationTests.sum) == expected)
        kill(status.agentPID, SIGKILL)
        for _ in 0..<600 where await engine.fleet.client(line: branch).status() != nil {
          usleep(10_000)
        }
        _ = try await engine.fleet.start(specification)
        #expect(try engine.psql(branch, LazySituationTests.sum) == expected)
        _ = try await engine.fleet.client(line: branch).ask(.keyframe, timeout: 60)
        // What history holds of it is the same.
        var proof = MomentProof()
        try await engine.prove(
          &proof, branch, at: try await head(engine, branch), [], queries: true, ahead: false)
        #expect(proof.moments == 1)
        let (child, _) = try await open(engine, branch, at: try await head(engine, branch))
        #expect(try engine.psql(child, LazySituationTests.sum) == expected)
        try await engine.fleet.destroy(line: child)
      }
    }
  }

  /// An agent killed at any time while it opens begins anew, and the moment is the same.
  @Test func agentsKilledWhileOpeningBeginAnew() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      let expected = try engine.psql(root, LazySituationTests.sum)
      let moment = try await head(engine, root)
      try engine.psql(root, "DELETE FROM t")
      for round in 0..<6 {
        let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
        var specification = engine.specification(line: line, parent: root, lsn: moment)
        specification.opening = .lazy
        let client = engine.fleet.client(line: line)
        let fleet = engine.fleet
        let start = Task { [specification] in try await fleet.start(specification) }
        var status: AgentStatus?
        while status == nil { status = await client.status() }
        usleep(useconds_t(round * 120_000))
        kill(status!.agentPID, SIGKILL)
        _ = await start.result  // failed, or done before
        let final = try await fleet.start(specification)
        #expect(final.phase == .running)
        #expect(try engine.psql(line, LazySituationTests.sum) == expected, "round \(round)")
        try await fleet.destroy(line: line)
      }
    }
  }

  /// Redo workers that are killed while pages are read cost time and nothing else.
  @Test func killedWorkersCostNoPage() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      try engine.psql(root, "UPDATE t SET filler = reverse(filler)")
      let expected = try engine.psql(root, LazySituationTests.sum)
      let (branch, status) = try await open(engine, root, at: try await head(engine, root))
      let done = DispatchSemaphore(value: 0)
      Thread.detachNewThread {
        for _ in 0..<3 {
          for worker in redoWorkers(of: status.agentPID) { kill(worker, SIGKILL) }
          usleep(150_000)
        }
        done.signal()
      }
      #expect(try engine.psql(branch, LazySituationTests.sum) == expected)
      #expect(try AmCheck.failures(on: engine.connection(branch)) == [])
      done.wait()
      try await engine.fleet.suspend(line: branch)
      #expect(redoWorkers(of: status.agentPID) == [])
    }
  }

  /// Without the extension, with files that no record describes, and where there are too many layers, the
  /// server replays, and says why.
  @Test func whatCannotBeOpenedLazilyIsReplayed() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      let expected = try engine.psql(root, LazySituationTests.sum)
      _ = try await engine.fleet.client(line: root).ask(.keyframe, timeout: 60)
      let before = try await head(engine, root)
      try engine.psql(root, "CREATE DATABASE copied STRATEGY file_copy TEMPLATE template0")
      // The copy ends with a checkpoint, whose keyframe is complete whatever the policy would like.
      var end = try await head(engine, root)
      while try await !engine.keyframe(of: root, at: end).isComplete {
        usleep(20_000)
        end = try await head(engine, root)
      }
      let history = try await LineHistory.open(LineID(rawValue: root), store: engine.store)
      let hard = try #require(await history.lastHardRecord(from: before, to: end))
      let (lazy, status) = try await engine.open(root, at: before)
      #expect(status.opening == .lazy && status.replayReason == nil)
      let (replayed, second) = try await engine.open(root, at: hard + 120)
      #expect(second.opening == .replay && second.replayReason == "database_file_copy")
      let (short, third) = try await engine.open(root, at: end)
      #expect(third.opening == .replay && third.replayReason == "short_tail")
      for line in [lazy, replayed, short] {
        #expect(try engine.psql(line, LazySituationTests.sum) == expected)
      }
      #expect(
        engine.fleet.openingCounts[.init(way: .replay, reason: "database_file_copy")] == 1)
      try engine.psql(root, "UPDATE t SET filler = 'y' || n")
      let moment = try await head(engine, root)
      let lonely = try engine.fleetWithoutExtension()
      let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
      let fourth = try await lonely.start(
        engine.specification(line: line, parent: root, lsn: moment))
      #expect(fourth.opening == .replay && fourth.replayReason == "page_redo_not_installed")
    }
  }

  /// A full `/dev/shm` makes openings longer, and ends nothing that runs.
  @Test func whereRedoHasNoMemoryTheServerReplays() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      let expected = try engine.psql(root, LazySituationTests.sum)
      let moment = try await head(engine, root)
      let disk = engine.directory + "/shm"
      try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
      try run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0711", "exzo-test", disk])
      defer { _ = try? run(["umount", "-l", disk]) }  // gone with the machine otherwise
      let fleet = AgentFleet(
        configuration: .init(
          dataDirectory: engine.directory, agentProgram: Engine.program,
          environment: ["PATH": "/usr/bin:/bin", "EXZO_REDO_DIRECTORY": disk]),
        log: Logger(label: "fleet"))
      let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
      let status = try await fleet.start(
        engine.specification(line: line, parent: root, lsn: moment))
      #expect(status.opening == .replay)
      #expect(status.replayReason == "page_redo_worker_start")
      #expect(try engine.psql(line, LazySituationTests.sum) == expected)
    }
  }

  /// Damage below a page is an error that names the object, never another page; with the object back the page
  /// is there.
  @Test func damagedHistoryIsAnErrorAndNoPage() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot { $0.completeLayers = .never }
      try engine.psql(root, LazySituationTests.fill)
      _ = try await engine.fleet.client(line: root).ask(.keyframe, timeout: 60)
      let moment = try await head(engine, root)
      let path = try engine.psql(root, "SELECT pg_relation_filepath('t')")
      // No chunk is merged away meanwhile.
      try await engine.fleet.suspend(line: root)
      let (whole, _) = try await OpenedMoment.prepare(engine, root, at: moment, .lazy)
      let expected = try await onThread { try whole.volume.readFile(path) }
      let (prepared, _) = try await OpenedMoment.prepare(engine, root, at: moment, .lazy)
      let objects = try engine.objects(of: root, "wal")
      #expect(!objects.isEmpty)
      let saved = try objects.map { try Data(contentsOf: URL(fileURLWithPath: $0)) }
      var errors = 0
      for place in 1..<8 {
        for (object, bytes) in zip(objects, saved) {
          var damaged = bytes
          let at = bytes.count * place / 8
          // Much at first: one batch of reading ahead may make all pages that it can.
          let length = place == 1 ? bytes.count : 200
          for offset in at..<min(at + length, bytes.count) { damaged[offset] ^= 0xFF }
          try engine.overwrite(object, damaged)
        }
        for block in 0..<expected.count / blockSize where block % 37 == place {
          var page = [UInt8](repeating: 0, count: blockSize)
          do {
            try page.withUnsafeMutableBytes {
              _ = try prepared.volume.read(
                prepared.volume.find(path).id, at: UInt64(block * blockSize), into: $0)
            }
            #expect(page[...] == expected[block * blockSize..<(block + 1) * blockSize])
          } catch {
            errors += 1
            #expect("\(error)".contains("wal/"), "\(error)")
          }
        }
      }
      #expect(errors > 0)
      for (object, bytes) in zip(objects, saved) { try engine.overwrite(object, bytes) }
      #expect(try await onThread { try prepared.volume.readFile(path) } == expected)
      for opened in [whole, prepared] {
        opened.lazy?.close()
        try opened.volume.close()
      }
    }
  }
}

extension Engine {
  /// A fleet on the same directory whose agents find no redo extension.
  func fleetWithoutExtension() throws -> AgentFleet {
    let program = "\(directory)/lonely/bin/exzo"
    try FileManager.default.createDirectory(
      atPath: "\(directory)/lonely/bin", withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: Engine.program, toPath: program)
    return AgentFleet(
      configuration: .init(
        dataDirectory: directory, agentProgram: program, environment: ["PATH": "/usr/bin:/bin"]),
      log: Logger(label: "lonely"))
  }

  /// Files of a line's objects in the local store.
  func objects(of line: String, _ kind: String) throws -> [String] {
    let store = "\(directory)/objects"
    return try FileManager.default.subpathsOfDirectory(atPath: store)
      .filter { $0.contains("\(line)/\(kind)/") }
      .map { "\(store)/\($0)" }
      .filter { path in
        var isDirectory: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
          && !isDirectory.boolValue
      }
  }

  /// In place: whoever has the file open sees it.
  func overwrite(_ path: String, _ bytes: Data) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    defer { try? handle.close() }  // the bytes are there; nothing depends on the close
    try handle.write(contentsOf: bytes)
  }
}
