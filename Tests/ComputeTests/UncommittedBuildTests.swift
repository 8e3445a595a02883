import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Indexes that are being built at a moment: see ``UncommittedPages``.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct UncommittedBuildTests {
  /// Two images of one server and the same WAL, recovered by PostgreSQL itself, differ in pages of the index
  /// that was being built, and in nothing else.
  @Test func stockRecoveryGivesPagesOfAnUnfinishedBuildAsTheImageHadThem() async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(
        in: "\(directory)/server",
        settings: [
          "autovacuum=off", "checkpoint_timeout=1h", "wal_keep_size=1GB", "bgwriter_lru_maxpages=0",
        ])
      try server.start()
      let build = try HeldIndexBuild(on: server.connection)
      try build.begin()
      var images: [String] = []
      for stop in HeldIndexBuild.stops.indices {
        if stop > 0 { try build.goOn(from: stop - 1) }
        try server.psql("CHECKPOINT")
        images.append("\(directory)/image\(stop)")
        try server.whileHeldStill {
          try run(["cp", "-a", server.dataDirectory, images[stop]])
        }
      }
      try server.psql("CREATE TABLE later AS SELECT 1 AS n")
      try server.kill()
      build.abandon()
      let recovered = try images.enumerated().map { number, image in
        try recover(image, wal: "\(server.dataDirectory)/pg_wal", in: "\(directory)/\(number)")
      }
      let (left, right) = (recovered[0], recovered[1])
      let differing = try differingPages(left.dataDirectory, right.dataDirectory)
      let paths = Set(differing.map { $0.path })
      #expect(paths.count == 1, "\(paths)")
      // GistBuildLSN on both sides, and not the same page.
      #expect(differing.contains { $0.left == 1 && $0.right == 1 }, "\(differing)")
      #expect(differing.allSatisfy { $0.left <= 1 && $0.right <= 1 }, "\(differing)")
      for path in paths {
        for server in recovered { try requireUnreadable(path, server) }
      }
      for server in recovered {
        #expect(try server.psql("SELECT n FROM later") == "1")
        try server.stop()
      }
    }
  }

  private func recover(_ image: String, wal: String, in directory: String) throws -> StockServer {
    try StockServer.makeOwnedDirectory(directory)
    let data = "\(directory)/data"
    try run(["mv", image, data])
    try run([
      "sh", "-c", "rm -rf '\(data)/pg_wal' '\(data)'/postmaster.* && cp -a '\(wal)' '\(data)/'",
    ])
    let server = try StockServer(adopting: directory, settings: ["autovacuum=off"])
    try server.start()
    // Pages as recovery left them are on the disk.
    try server.psql("CHECKPOINT")
    return server
  }

  /// No relation that anybody sees has the file, and who made it never committed.
  private func requireUnreadable(_ path: String, _ server: StockServer) throws {
    let name = (path as NSString).lastPathComponent
    #expect(try server.psql("SELECT count(*) FROM pg_class WHERE relfilenode = \(name)") == "0")
    #expect(try server.psql("SELECT count(*) FROM pg_class WHERE relname = 'built'") == "0")
  }

  /// LSNs of the pages of relation files that two directories do not have alike; no LSN where a file ends before.
  private func differingPages(
    _ left: String, _ right: String
  ) throws -> [(path: String, left: UInt64, right: UInt64)] {
    let paths = try FileManager.default.subpathsOfDirectory(atPath: left).filter {
      guard case .relation(let file) = DataFileKind(path: $0) else { return false }
      return file.fork == .main
    }
    var found: [(path: String, left: UInt64, right: UInt64)] = []
    for path in paths.sorted() {
      let (a, b) = try (
        KilledCluster.file("\(left)/\(path)"), KilledCluster.file("\(right)/\(path)")
      )
      guard a != b else { continue }
      for start in stride(from: 0, to: max(a.count, b.count), by: 8192) {
        let (x, y) = (a.dropFirst(start).prefix(8192), b.dropFirst(start).prefix(8192))
        if x.elementsEqual(y) { continue }
        // Hint bits that were set after a page's first image in WAL are in no record.
        if !x.isEmpty, !y.isEmpty, PageMask.masked(x) == PageMask.masked(y) { continue }
        found.append(
          (path, x.isEmpty ? 0 : PageMask.lsn(x).rawValue, y.isEmpty ? 0 : PageMask.lsn(y).rawValue)
        )
      }
    }
    return found
  }

  /// The image was cut after the record that made the index's file, with pages that were written before they were
  /// logged; its redo LSN lies before that record. Page redo gives zeros where replay leaves what the image has.
  @Test func anUnfinishedBuildDiffersWithoutRecordAndAFinishedOneNotAtAll() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot {
        $0.completeLayers = .always
        $0.restoreObjective = 1000
        $0.settings.sharedBuffersMegabytes = 4
        // A checkpoint begins after 32 MB of WAL, and takes until as much has been written again.
        $0.settings.maxWALSize = 64
        $0.settings.extra = ["autovacuum": "off", "synchronous_commit": "off"]
      }
      let connection = engine.connection(root)
      let build = try HeldIndexBuild(on: connection)
      try connection.psql("CREATE TABLE filler (body text)")
      try await engine.keyframe(root)
      let before = try await engine.head(root)
      try fill(engine, root, until: "checkpoint starting: wal", occurrences: 1)
      let redo = try await engine.head(root)
      try build.begin()
      // Evicts the index's pages, and lets the checkpoint come to its end.
      try fill(engine, root, until: "checkpoint complete", occurrences: completed(engine, root) + 1)
      let keyframe = try await newKeyframe(engine, root, after: before)
      try #require(keyframe.redoLSN > before && keyframe.redoLSN <= redo, "\(keyframe)")
      var proof = MomentProof()
      try await engine.prove(
        &proof, root, at: try await engine.head(root), [], queries: false, ahead: true)
      #expect(proof.strict == 1)
      #expect(proof.uncommittedPages > 0, "\(proof.summary)")
      let judged = proof.uncommittedPages
      for stop in HeldIndexBuild.stops.indices {
        try await onThread { try build.goOn(from: stop) }
      }
      try await engine.prove(
        &proof, root, at: try await engine.head(root), [], queries: true, ahead: true)
      #expect(proof.moments == 2 && proof.uncommittedPages == judged, "\(proof.summary)")
    }
  }

  private func completed(_ engine: Engine, _ line: String) -> Int {
    engine.logs(line).components(separatedBy: "checkpoint complete").count - 1
  }

  /// Writes WAL until the server's log says something as often as wanted.
  private func fill(
    _ engine: Engine, _ line: String, until words: String, occurrences: Int
  ) throws {
    for _ in 0..<400 {
      if engine.logs(line).components(separatedBy: words).count > occurrences { return }
      try engine.psql(
        line, "INSERT INTO filler SELECT repeat('x', 800) FROM generate_series(1, 1000)")
    }
    throw CommandFailure(description: "fill \(line): the log does not say '\(words)'")
  }

  private func newKeyframe(
    _ engine: Engine, _ line: String, after former: LSN
  ) async throws -> Keyframe {
    for _ in 0..<600 {
      let history = try await engine.history(line)
      if let newest = await history.keyframes.last, newest.redoLSN > former { return newest }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "no new keyframe of \(line)")
  }
}
