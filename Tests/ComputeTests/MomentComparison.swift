import Foundation
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// One moment of a killed cluster, recovered by stock PostgreSQL from the tail as it is and from the
/// rewritten one.
struct MomentComparison {
  let cluster: KilledCluster
  let moment: LSN
  let summary: RewrittenTail.Summary
  private let rewritten: [UInt8]
  private let eager: StockServer
  private let lazy: StockServer

  init(_ cluster: KilledCluster, _ moment: LSN, number: Int, seed: UInt64) throws {
    self.cluster = cluster
    self.moment = moment
    let (wal, outcome) = try cluster.rewrite(to: moment, seed: seed &+ UInt64(number))
    guard case .lazy(let summary) = outcome else {
      throw CommandFailure(description: "open \(moment) without replay: \(outcome)")
    }
    self.summary = summary
    rewritten = wal
    eager = try cluster.copyBase("eager\(number)", wal: cluster.tail(to: moment))
    lazy = try cluster.copyBase("lazy\(number)", wal: wal)
    try DirectoryTree.apply(summary.moment.tree, to: lazy.dataDirectory)
    if getuid() == 0 { try run(["chown", "-R", "postgres:postgres", lazy.dataDirectory]) }
    for server in [eager, lazy] {
      // Nothing connects: pages are not at the moment in the lazy copy.
      try server.start()
      try server.stop()
    }
  }

  func remove() throws {
    for server in [eager, lazy] { try run(["rm", "-rf", server.directory]) }
  }

  /// - Returns: the relation files at the moment.
  func compare() throws -> Set<String> {
    let computed = comparable(DirectoryTree.relations(of: summary.moment.tree))
    let replayed = comparable(try DirectoryTree.relations(in: eager.dataDirectory))
    let opened = comparable(try DirectoryTree.relations(in: lazy.dataDirectory))
    report(computed, replayed, "the computed tree", "eager recovery")
    report(opened, replayed, "recovery over the rewritten tail", "eager recovery")
    compareIdentities()
    try compareCuts()
    try compareState()
    try compareEnd()
    return Set(computed.keys)
  }

  /// Without free space maps: redo extends them where pages have little space left, which no record
  /// says, and the server takes them for hints.
  private func comparable(_ files: [String: UInt64]) -> [String: UInt64] {
    files.filter { !$0.key.contains("_fsm") }
  }

  private func report(
    _ found: [String: UInt64], _ expected: [String: UInt64], _ what: String, _ oracle: String
  ) {
    for (path, size) in expected where found[path] != size {
      let text = found[path].map(String.init) ?? "nothing"
      Issue.record("\(moment): \(path) has \(size) bytes after \(oracle), \(text) in \(what)")
    }
    for path in found.keys where expected[path] == nil {
      Issue.record("\(moment): \(path) is in \(what), not there after \(oracle)")
    }
  }

  /// Files of the image keep their identities, new ones get new ones.
  private func compareIdentities() {
    let tree = summary.moment.tree
    let ids = tree.entries.map(\.id)
    #expect(Set(ids).count == ids.count)
    #expect(ids.allSatisfy { $0 < tree.nextFileID })
    let known = Set(ids)
    let files = summary.moment.relationFiles
    #expect(Set(files.keys).isSubset(of: known))
    #expect(files.count == DirectoryTree.relations(of: tree).count)
    for entry in tree.entries {
      if let file = files[entry.id] { #expect(entry.name == file.name) }
    }
    for block in summary.moment.recentBlocks { #expect(known.contains(block.file)) }
    for truncation in summary.moment.truncations.values.joined() {
      #expect(truncation.startLSN < moment)
    }
  }

  /// What is said to count for nothing is in no page: a page behind a cut was written after it, or
  /// never. Maps aside, whose pages redo makes without a record.
  private func compareCuts() throws {
    for (fork, cuts) in summary.moment.cuts where fork.fork == .main || fork.fork == .initialization
    {
      #expect(cuts.map(\.firstBlock) == cuts.map(\.firstBlock).sorted())
      let file = RelationFile(locator: fork.locator, fork: fork.fork)
      let path = file.path(versionDirectory: PostgresMajor.v15.format.tablespaceDirectory)
      let bytes = try KilledCluster.file("\(eager.dataDirectory)/\(path)")
      for block in 0..<UInt32(bytes.count / blockSize) {
        guard let first = summary.moment.firstUsefulLSN(of: fork, block: block) else { continue }
        let page = bytes[Int(block) * blockSize..<(Int(block) + 1) * blockSize]
        let words = page.prefix(8).withUnsafeBytes {
          ($0.loadUnaligned(as: UInt32.self), $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        }
        let written = LSN(UInt64(words.0) << 32 | UInt64(words.1))
        #expect(
          written > first || page.allSatisfy { $0 == 0 },
          "\(moment): \(path) block \(block) was written at \(written), before \(first)")
      }
    }
  }

  /// Commit log, multixacts, commit timestamps, prepared transactions, relation maps, counters.
  private func compareState() throws {
    let (a, b) = (try stateFiles(eager), try stateFiles(lazy))
    #expect(a.keys.sorted() == b.keys.sorted(), "\(moment)")
    for (path, bytes) in a { #expect(b[path] == bytes, "\(moment): \(path)") }
    #expect(a.keys.contains { $0.hasSuffix("pg_filenode.map") })
    #expect(a.keys.contains { $0.hasPrefix("pg_xact/") })
  }

  private func stateFiles(_ server: StockServer) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    let walk = FileManager.default.enumerator(atPath: server.dataDirectory)
    for case let path as String in try #require(walk) {
      var isDirectory: ObjCBool = false
      let full = "\(server.dataDirectory)/\(path)"
      guard FileManager.default.fileExists(atPath: full, isDirectory: &isDirectory),
        !isDirectory.boolValue
      else { continue }
      switch DataFileKind(path: path) {
      case .slru(let slru, _) where !slru.isTransient: break
      case .relationMap, .preparedTransaction: break
      case .other where path.hasSuffix("PG_VERSION") || path.hasPrefix("pg_logical/"): break
      default: continue
      }
      files[path] = try KilledCluster.file(full)
    }
    return files
  }

  private func compareEnd() throws {
    var (a, b) = (try control(eager).checkpoint, try control(lazy).checkpoint)
    (a.time, b.time) = (0, 0)
    #expect(a == b, "\(moment)")
    for server in [eager, lazy] {
      var log = PostmasterLog()
      let text = try String(contentsOfFile: "\(server.directory)/log", encoding: .utf8)
      for line in text.split(separator: "\n") { log.observe(String(line)) }
      #expect(log.redoLast == summary.lastRecordStart, "\(moment): \(server.directory)")
    }
  }

  private func control(_ server: StockServer) throws -> ControlFile {
    try ControlFile(
      KilledCluster.file("\(server.dataDirectory)/global/pg_control"), major: .v15)
  }

  /// `pg_waldump` reads both tails without complaint and sees the same records at the same places.
  func compareDumps() throws {
    let original = try dump(cluster.tail(to: moment), "original")
    let changed = try dump(rewritten, "rewritten")
    #expect(changed.map(\.link) == original.map(\.link))
    #expect(original.count == summary.counts.total)
    let noops = changed.count { $0.isNoop } - original.count { $0.isNoop }
    #expect(noops == summary.counts.pages + summary.counts.truncations)
  }

  private func dump(_ wal: [UInt8], _ name: String) throws -> [(link: Substring, isNoop: Bool)] {
    let path = "\(cluster.directory)/dump-\(name)"
    try cluster.writeSegments(wal, into: path)
    let result = try run([
      "\(eager.binaries)/pg_waldump", "-p", path, "-s", "\(cluster.redo)", "-e", "\(moment)",
    ])
    #expect(result.errorOutput == "")
    return result.output.split(separator: "\n").compactMap { line in
      guard let from = line.range(of: "tx:"), let to = line.range(of: ", desc:") else { return nil }
      return (line[from.lowerBound..<to.lowerBound], line.contains("desc: NOOP"))
    }
  }
}
