import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// The power goes: of everything on the disk only what was synced is sure to be there.
///
/// The data directory lies on a file system in an image file. While it is mounted, the image holds
/// what the file system has written out: what was synced, and by chance a part of the rest. A copy
/// of the image is the disk after a power cut, for page log, `pg_wal`, spool and store together.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct PowerCutTests {
  @Test func aPowerCutAcrossPageLogAndWALLosesNothingAcknowledged() async throws {
    try await withTemporaryDirectory { directory in
      let disk = try LoopDisk(in: directory, megabytes: 1024)
      do {
        try await cutPower(on: disk)
      } catch {
        try? disk.detach()  // the first error is the one to report
        throw error
      }
      try disk.detach()
    }
  }

  private func cutPower(on disk: LoopDisk) async throws {
    let engine = try await Engine(in: disk.mountPoint)
    let root = try await engine.openRoot()
    let workload = DDLWorkload()
    try workload.prepare(on: engine.connection(root))
    for round in 0..<3 {
      let run = WorkloadRun(
        on: engine.connection(root), seed: UInt64(40 + 100 * round), workersEach: 2)
      let ledger = Ledger(engine.connection(root))
      async let report = run.run([workload], seconds: 4)
      let noted = try await onThread { try ledger.watch(seconds: 3) }
      let stopped = try disk.freeze()
      try disk.copy()
      disk.resume(stopped)
      // What was acknowledged before the cut must be on the copy; what came later is of a future
      // that did not happen.
      _ = try await report
      // Without this marker, on the disk that is thrown away, the fleet does not start it again.
      try FileManager.default.removeItem(
        atPath: engine.fleet.directory(line: root).openedMarker)
      try await engine.killAgent(root)
      await engine.end(root)
      try disk.swap()
      try await engine.wake(root)
      #expect(try workload.failures(on: engine.connection(root), acknowledged: noted) == [])
      #expect(try AmCheck.failures(on: engine.connection(root)) == [], "round \(round)")
      try await engine.withBranch(of: root, at: try await engine.head(root)) { branch, _ in
        let copy = engine.connection(branch)
        let failures = try workload.failures(on: copy, acknowledged: noted)
        #expect(failures == [], "round \(round)")
      }
    }
    try await engine.fleet.suspendAll()
  }

  /// The last committed step of each worker, as a client sees it.
  private struct Ledger {
    let server: ServerConnection
    init(_ server: ServerConnection) { self.server = server }

    func watch(seconds: Double) throws -> [Int: Int] {
      let deadline = Date().addingTimeInterval(seconds)
      var noted: [Int: Int] = [:]
      repeat {
        // Visible to others means that its commit record was flushed.
        let rows = try server.psql(
          "SELECT worker, max(step) FROM exzo_ledger WHERE workload = 'ddl' GROUP BY 1")
        for row in rows.split(separator: "\n") {
          let values = row.split(separator: "|").compactMap { Int($0) }
          if values.count == 2 { noted[values[0]] = values[1] }
        }
      } while Date() < deadline
      guard !noted.isEmpty else {
        throw CommandFailure(description: "watch ledger: no commit seen")
      }
      return noted
    }
  }
}

/// A file system in an image file, so that a copy of the image is what a power cut leaves.
final class LoopDisk {
  let mountPoint: String
  private let image: String
  private let survivor: String
  private var isMounted = false

  init(in directory: String, megabytes: Int) throws {
    mountPoint = "\(directory)/disk"
    image = "\(directory)/image"
    survivor = "\(directory)/survivor"
    try run(["truncate", "-s", "\(megabytes)M", image])
    try run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image])
    try run(["mkdir", "-p", mountPoint])
    try mount()
  }

  private func mount() throws {
    // A journal that commits rarely leaves more to be lost.
    try run(["mount", "-o", "loop,commit=30", image, mountPoint])
    isMounted = true
  }

  func detach() throws {
    guard isMounted else { return }
    // Processes that were just killed still let go of their files.
    for _ in 0..<600 {
      if try run(["umount", mountPoint], allowFailure: true).status == 0 {
        isMounted = false
        return
      }
      usleep(50_000)
    }
    throw CommandFailure(description: "unmount \(mountPoint): still busy after 30 s")
  }

  /// Stops every process that works below the mount point or was started for it.
  func freeze() throws -> [pid_t] {
    let names = try FileManager.default.contentsOfDirectory(atPath: "/proc")
    let found = names.compactMap { pid_t($0) }.filter { pid in
      let words = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
      let command = String(decoding: words, as: UTF8.self)
      // The agent, and the server's processes, whose working directory is the mount.
      return (command.contains("\0agent\0") && command.contains(mountPoint))
        || processDirectory(pid).hasPrefix(mountPoint)
    }
    for pid in found { kill(pid, SIGSTOP) }
    guard !found.isEmpty else { throw CommandFailure(description: "freeze: no process found") }
    return found
  }

  private func processDirectory(_ pid: pid_t) -> String {
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/\(pid)/cwd", &path, path.count - 1)
    return String(decoding: path[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func resume(_ processes: [pid_t]) { for pid in processes { kill(pid, SIGCONT) } }

  /// Copies the image until two copies are the same: then nothing was written meanwhile, and the
  /// copy is of one instant.
  func copy() throws {
    for _ in 0..<20 {
      try run(["cp", "--sparse=always", image, survivor])
      if try run(["cmp", "-s", image, survivor], allowFailure: true).status == 0 { return }
    }
    throw CommandFailure(description: "copy \(image): it does not come to rest")
  }

  /// Puts the copy in the image's place.
  func swap() throws {
    try detach()
    try run(["mv", survivor, image])
    try mount()
  }
}
