import Foundation
import PostgresFormat
import TestSupport

@testable import Compute

/// Pages that differ at a moment and that no record wrote.
///
/// GiST, GIN and SP-GiST write the pages of a new index as buffers are evicted, and log them only when the build
/// ends (`log_newpage_range` in `gistbuild.c`, `gininsert.c`, `spginsert.c`), or, where GiST sorts, just after they
/// were written (`gist_indexsortbuild_flush_ready_pages`). Until then a page's LSN is none, or GiST's `GistBuildLSN`
/// (0/1), and what the file holds is what the server happened to have written when an image was cut. Replay
/// leaves it as the image has it. Page redo takes the record that made the file for the beginning of all
/// its pages: where that lies after the image's redo LSN, the page is zeros. Stock crash recovery gives either, too,
/// from two images of one server: `UncommittedBuildTests` shows it.
///
/// So such a page may differ if, and only if,
/// 1. neither side's LSN is one that a record gave it, and
/// 2. in the cluster that was replayed, no relation that a committed transaction left has the file, and no prepared
///    transaction holds a lock as those that make files do: nobody can ever read the file. (The record that made it
///    does not tell: `CREATE INDEX` has no transaction id yet when it writes it.)
struct UncommittedPages {
  /// Blocks by path.
  private var blocks: [String: [Int]] = [:]
  private(set) var judged = 0

  /// Whether no record has written the page: zeros count.
  static func mayHold(_ page: ArraySlice<UInt8>) -> Bool {
    PageMask.lsn(page).rawValue <= UncommittedPages.gistBuildLSN
  }

  /// `access/gist.h`.
  private static let gistBuildLSN: UInt64 = 1

  mutating func note(_ path: String, block: Int) { blocks[path, default: []].append(block) }

  /// Notes an empty file that one side has and the other has not: 2. holds for it as well.
  mutating func note(_ path: String) { blocks[path, default: []] += [] }

  /// Asks the replayed cluster whose the files are, and forgets what was noted.
  /// - Returns: what may not differ, in words.
  mutating func failures(at moment: LSN, replayed: OpenedMoment) throws -> [String] {
    guard !blocks.isEmpty else { return [] }
    defer { blocks = [:] }
    judged += blocks.values.reduce(0) { $0 + $1.count }
    let server = try replayed.start()
    defer { try? replayed.server.stop() }  // it is removed anyway
    return try blocks.sorted { $0.key < $1.key }.compactMap { path, blocks in
      try UncommittedPages.reader(of: path, server).map {
        "\(moment): \(path) blocks \(blocks): \($0) may read the file"
      }
    }
  }

  /// Who may read a file, now or once a prepared transaction commits; `nil` where nobody ever can.
  private static func reader(of path: String, _ server: ServerConnection) throws -> String? {
    guard case .relation(let file) = DataFileKind(path: path) else { return "anybody" }
    let locator = file.locator
    let name = try server.psql("SELECT datname FROM pg_database WHERE oid = \(locator.database)")
    // A database whose creation has not committed.
    if name.isEmpty, locator.database != 0 { return nil }
    let found = try server.with(database: name.isEmpty ? server.database : name).psql(
      """
      SELECT oid::regclass::text FROM pg_class WHERE pg_relation_filenode(oid) = \(locator.relation)
      UNION ALL
      SELECT 'the prepared transaction that locks ' || relation::text FROM pg_locks
      WHERE virtualtransaction LIKE '-1/%' AND locktype = 'relation'
        AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
        AND database = \(locator.database)
      """)
    return found.isEmpty ? nil : found.replacingOccurrences(of: "\n", with: ", ")
  }
}
