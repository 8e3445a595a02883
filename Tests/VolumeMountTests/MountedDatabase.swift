import Foundation
import TestSupport
import Testing
import VolumeMount

/// A PostgreSQL server whose data directory is a mounted volume.
struct MountedDatabase {
  let mount: MountServer
  let server: StockServer

  var binaries: String { server.binaries }

  /// Starts pgbench in the background; it ends with the server, or after a minute.
  func startLoad() throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "\(binaries)/pgbench")
    process.arguments = [
      "-h", server.directory, "-U", "postgres", "-n", "-c", "4", "-T", "60", "postgres",
    ]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    process.currentDirectoryURL = URL(fileURLWithPath: "/")
    try process.run()
    return process
  }

  /// Waits until that many more transactions of the load are committed.
  func waitForTransactions(_ count: Int) async throws {
    let start = try transactions()
    while try transactions() < start + count { try await Task.sleep(for: .milliseconds(50)) }
  }

  private func transactions() throws -> Int {
    try #require(Int(server.psql("SELECT count(*) FROM pgbench_history")))
  }

  /// Waits until the server, which restarts its processes by itself, takes connections again.
  func waitUntilReady() async throws {
    while true {
      let status = try run(
        ["\(binaries)/pg_isready", "-q", "-h", server.directory], allowFailure: true)
      if status.status == 0 { return }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Kills the postmaster and every process it started, and returns when all are gone.
  func killPostgres() throws {
    let postmaster = try run(
      ["pgrep", "-f", "^\(binaries)/postgres -D \(server.dataDirectory)$"]
    ).output.split(separator: "\n").map(String.init)
    let children = try postmaster.flatMap {
      try run(["pgrep", "-P", $0], allowFailure: true).output.split(separator: "\n").map(
        String.init)
    }
    try run(["kill", "-KILL"] + postmaster + children, allowFailure: true)
    for process in postmaster + children {
      // A zombie waits for nobody that matters: its files are closed.
      while let state = Self.state(of: process), state != "Z" { usleep(10_000) }
    }
    // Their owner may still be a zombie, which looks alive to the next postmaster. Either may be
    // gone.
    try? FileManager.default.removeItem(atPath: "\(server.directory)/.s.PGSQL.5432.lock")
    try? FileManager.default.removeItem(atPath: "\(server.dataDirectory)/postmaster.pid")
  }

  private static func state(of process: String) -> String? {
    // Gone while we look: then there is no state.
    let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
    return text?.split(separator: ")").last?.split(separator: " ").first.map(String.init)
  }

  /// Runs some of pgbench's own workload and checks its sums.
  func checkPgbench(transactions: Int) throws {
    try server.pgbench(["-i", "-q", "-s", "1"])
    try server.pgbench(["-n", "-c", "4", "-t", "\(transactions)"])
    #expect(
      try server.psql("SELECT count(*) FROM pgbench_history") == "\(4 * transactions)")
  }

  /// pgbench's four sums agree, every relation passes `pg_amcheck`, and, once stopped, every page
  /// its
  /// checksum. Leaves the server stopped.
  func checkEverything() throws {
    let sums = try server.psql(
      """
      SELECT count(DISTINCT s) FROM (SELECT sum(abalance) AS s FROM pgbench_accounts
        UNION ALL SELECT sum(bbalance) FROM pgbench_branches
        UNION ALL SELECT sum(tbalance) FROM pgbench_tellers
        UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS sums
      """)
    #expect(sums == "1")
    try run([
      "\(binaries)/pg_amcheck", "--install-missing", "--heapallindexed", "-h", server.directory,
      "-U", "postgres", "-a",
    ])
    try server.stop()
    try run(["\(binaries)/pg_checksums", "--check", "-D", server.dataDirectory])
  }
}

/// Gives `body` a running server on a mounted volume; nothing is left behind, even when it throws.
func withDatabase(
  cachesWrites: Bool = false, _ body: (MountedDatabase) async throws -> Void
) async throws {
  try await withMountServer(mountedAt: "server/data", cachesWrites: cachesWrites) {
    mount, directory in
    let server = try StockServer(
      in: "\(directory)/server",
      settings: ["fsync=on", "full_page_writes=off", "shared_buffers=16MB", "max_connections=50"],
      initdbOptions: ["-X", "\(directory)/server/wal"])
    let database = MountedDatabase(mount: mount, server: server)
    try server.start()
    do {
      try await body(database)
    } catch {
      // The first error is the one to report.
      try? server.stop(mode: "immediate")
      try? database.killPostgres()
      throw error
    }
    try server.stopIfRunning()
  }
}

extension StockServer {
  func stopIfRunning() throws {
    let status = try run(
      ["\(binaries)/pg_ctl", "-D", dataDirectory, "status"], asPostgresUser: true,
      allowFailure: true)
    if status.status == 0 { try stop(mode: "immediate") }
  }
}
