import History
import Logging
import PostgresFormat

/// Verifies pages while a layer is built: checksum, and an LSN that the WAL below `limit` explains.
///
/// - Parameter leavesOrphans: set after a crash recovery. Builds of indexes and rewrites of tables write
///   pages past the buffers, before their WAL is flushed (`_bt_blwritepage` in `nbtsort.c`); what a crash cut off
///   leaves files that no catalog row names, with LSNs that WAL never reached. They are told to this log.
func pageCheck(hasChecksums: Bool, limit: LSN, leavesOrphans log: Logger? = nil) -> LayerCheck {
  { file in
    guard case .relation(let relation) = DataFileKind(path: file.path) else { return nil }
    let first = relation.firstBlock
    return { block, bytes in
      guard let header = PageHeader(bytes), !header.isNew else { return nil }
      if hasChecksums, case .mismatch = DataChecksum.verify(bytes, block: first &+ block) {
        throw ComputeError(
          .damagedHistory,
          "check page \(first + block) of '\(file.path)' (LSN \(header.lsn)): wrong checksum",
          hint: "the disk or the server damaged it; restore from a moment before")
      }
      if header.lsn > limit, let log {
        log.notice(
          "page of a file that a crash left behind",
          metadata: ["file": "\(file.path)", "lsn": "\(header.lsn)", "limit": "\(limit)"])
        return nil
      }
      guard header.lsn <= limit else {
        throw ComputeError(
          .damagedHistory,
          "check page \(first + block) of '\(file.path)': its LSN \(header.lsn) lies above the "
            + "consistent LSN \(limit)")
      }
      return header.lsn
    }
  }
}
