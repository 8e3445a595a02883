import Foundation
import PostgresFormat
import Synchronization
import TestSupport
import Testing

@testable import PageRedo

/// Worker processes: walls around them, their deaths, what they leave behind.
@Suite(.serialized, .heavy, .needsPostgres()) struct WorkerTests {
  /// Processes that work in the pool's directory.
  private func workers(of pool: RedoPool) throws -> [pid_t] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { name in
      guard let pid = pid_t(name),
        // A process that ended meanwhile has no directory.
        let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(name)/cwd"),
        path.hasPrefix(pool.scratch.path)
      else { return nil }
      return pid
    }
  }

  @Test func workerRunsWithoutPrivilegesUnderASystemCallFilter() async throws {
    let history = try await SmallHistory.get()
    try withPool(workers: 1) { pool in
      _ = try pool.redo([history.request(history.targets[0])])
      let pid = try #require(try workers(of: pool).first)
      let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
      func field(_ name: String) -> String? {
        status.split(separator: "\n").first { $0.hasPrefix(name + ":") }.map {
          $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
        }
      }
      #expect(field("Seccomp") == "2")
      #expect(field("NoNewPrivs") == "1")
      #expect(field("CapEff") == "0000000000000000")
      #expect(field("Uid")?.hasPrefix("0\t") == false)
      if getuid() == 0 {
        let manager = FileManager.default
        for space in ["net", "ipc"] {
          let theirs = try manager.destinationOfSymbolicLink(atPath: "/proc/\(pid)/ns/\(space)")
          let ours = try manager.destinationOfSymbolicLink(atPath: "/proc/self/ns/\(space)")
          #expect(theirs != ours)
        }
      }
    }
  }

  /// A write that a full tmpfs has no room for is no error but SIGBUS, which would end every running database's agent.
  @Test func aFullScratchFileSystemIsAnErrorOfThePage() async throws {
    let history = try await SmallHistory.get()
    try await withTemporaryDirectory { directory in
      let disk = directory + "/shm"
      try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
      try run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0711", "exzo-test", disk])
      defer { _ = try? run(["umount", "-l", disk]) }  // gone with the machine otherwise
      let pool = try makePool(workers: 1, scratch: disk)
      defer { pool.stop() }
      let error = #expect(throws: PageRedoError.self) {
        _ = try pool.redo([history.request(history.targets[0])])
      }
      #expect(error?.code == .workerStart)
      #expect("\(error.map { "\($0)" } ?? "")".contains("\(disk)/"))
      // And with room it works again.
      try run(["mount", "-o", "remount,size=64m", disk])
      let pages = try pool.redo([history.request(history.targets[0])])
      #expect(pages[0].bytes == history.expected(history.targets[0]))
    }
  }

  @Test func killedWorkersChangeNothingButTheTime() async throws {
    let history = try await SmallHistory.get()
    let pool = try makePool(workers: 2)
    let isDone = Mutex(false)
    let kills = Mutex(0)
    let killer = Thread {
      var random = SeededRandom(seed: 11)
      while !isDone.withLock({ $0 }) {
        usleep(UInt32(random.pick(5_000...60_000)))
        // A pool without processes at this moment has nothing to kill.
        if let pid = (try? workers(of: pool))?.randomElement(using: &random),
          kill(pid, SIGKILL) == 0
        {
          kills.withLock { $0 += 1 }
        }
      }
    }
    killer.start()
    defer { isDone.withLock { $0 = true } }
    var wrong = 0
    var lost = 0
    var made = 0
    while kills.withLock({ $0 }) < 20 {
      let batch = RedoBatch()
      for target in history.targets { try history.append(target, to: batch) }
      try pool.redo(batch)
      for (index, target) in history.targets.enumerated() {
        if case .failed(let error) = batch.outcome(of: index) {
          // Five deaths over one page: the only failure there may be.
          #expect(error.code == .workerLost || error.code == .workerStart, "\(error)")
          lost += 1
        } else if !batch.page(of: index).elementsEqual(history.expected(target)) {
          wrong += 1
        } else {
          made += 1
        }
      }
    }
    isDone.withLock { $0 = true }
    pool.stop()
    print("killed \(kills.withLock { $0 }) workers: \(made) pages right, \(lost) lost")
    #expect(wrong == 0)
    #expect(made > 100 * lost)
  }

  @Test func stopLeavesNoProcessAndNoFile() async throws {
    let history = try await SmallHistory.get()
    let pool = try makePool()
    _ = try pool.redo(history.targets.prefix(40).map { history.request($0) })
    #expect(try !workers(of: pool).isEmpty)
    pool.stop()
    #expect(try workers(of: pool).isEmpty)
    #expect(!FileManager.default.fileExists(atPath: pool.scratch.path))
    #expect(throws: PageRedoError.self) { try pool.redo([history.request(history.targets[0])]) }
    pool.stop()
  }

  @Test func nextPoolRemovesWhatADeadOneLeft() async throws {
    try await withTemporaryDirectory { directory in
      let stale = "\(directory)/\(ScratchDirectory.prefix)dead"
      try FileManager.default.createDirectory(
        atPath: "\(stale)/worker-1/global", withIntermediateDirectories: true)
      #expect(FileManager.default.createFile(atPath: "\(stale)/owner", contents: nil))
      let living = try makePool(scratch: directory)
      #expect(!FileManager.default.fileExists(atPath: stale))
      let second = try makePool(scratch: directory)
      #expect(FileManager.default.fileExists(atPath: living.scratch.path))
      living.stop()
      second.stop()
    }
  }

  @Test func segmentsOfSharedMemoryDoNotPileUp() async throws {
    let history = try await SmallHistory.get()
    func segments() throws -> Int {
      try run(["ipcs", "-m"]).output.split(separator: "\n").filter { $0.hasPrefix("0x") }.count
    }
    let before = try segments()
    for _ in 1...5 {
      try withPool(workers: 1) { pool in
        _ = try pool.redo([history.request(history.targets[0])])
        for pid in try workers(of: pool) { kill(pid, SIGKILL) }
      }
    }
    #expect(try segments() <= before + 1)
  }

  @Test func manyThreadsShareAPool() async throws {
    let history = try await SmallHistory.get()
    try withPool(workers: 2) { pool in
      let wrong = Mutex(0)
      DispatchQueue.concurrentPerform(iterations: 8) { thread in
        let batch = RedoBatch()
        for round in 0..<10 {
          batch.removeAll()
          let targets = history.targets.enumerated().filter {
            $0.offset % 8 == thread || $0.offset % 10 == round
          }.map(\.element)
          do {
            for target in targets { try history.append(target, to: batch) }
            try pool.redo(batch)
          } catch { wrong.withLock { $0 += 1 } }
          for (index, target) in targets.enumerated()
          where !batch.page(of: index).elementsEqual(history.expected(target)) {
            wrong.withLock { $0 += 1 }
          }
        }
      }
      #expect(wrong.withLock { $0 } == 0)
    }
  }

  @Test func missingExtensionSaysHowToGetIt() throws {
    let error = #expect(throws: PageRedoError.self) {
      try RedoPool(
        RedoPoolConfiguration(
          major: .v15, library: "/nonexistent/exzo_page_redo.so", identity: (65_534, 65_534)))
    }
    #expect(error?.code == .notInstalled)
    #expect(error?.hint.contains("scripts/build_extension") == true)
  }
}
