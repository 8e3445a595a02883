import Foundation
import PostgresFormat

/// Archive, base backups and WAL positions.
extension StockServer {
  /// Where ``enableArchive()`` puts finished segments.
  public var archiveDirectory: String { "\(directory)/archive" }

  /// Switches WAL archiving on, into ``archiveDirectory``. Takes a restart to come into force; call
  /// it
  /// before ``start(timeoutSeconds:)``.
  public func enableArchive() throws {
    try StockServer.makeOwnedDirectory(archiveDirectory)
    try append(settings: [
      "archive_mode=on",
      "archive_command='cp %p \(archiveDirectory)/%f.part && mv \(archiveDirectory)/%f.part "
        + "\(archiveDirectory)/%f'",
    ])
  }

  /// Ends the current segment and waits until every segment up to it is in the archive.
  public func archiveAll() throws {
    let segment = try psql("SELECT pg_walfile_name(pg_switch_wal())")
    let deadline = Date().addingTimeInterval(60)
    while try psql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") < segment {
      guard Date() < deadline else {
        throw CommandFailure(description: "archive \(segment): not archived within 60 s")
      }
      usleep(50_000)
    }
  }

  /// Takes a `pg_basebackup` without WAL into `path/data`.
  ///
  /// With `full_page_writes=off` on the server this is still right: the server forces full pages
  /// while a backup runs (`do_pg_backup_start`), so a page that was copied half-written is replaced
  /// in
  /// replay, and the copy is sound from the backup's end on. A recovery of it replays once,
  /// forwards.
  public func baseBackup(to path: String) throws {
    try StockServer.makeBaseBackup(of: connection, to: path)
  }

  /// As ``baseBackup(to:)``, of any server whose user may replicate, such as a compute on its
  /// socket.
  ///
  /// - Parameter asPostgresUser: off where the server knows its clients by their system user; the
  ///   backup is `postgres`'s all the same.
  public static func makeBaseBackup(
    of server: ServerConnection, to path: String, asPostgresUser: Bool = true
  ) throws {
    try makeOwnedDirectory(path)
    try run(
      [
        server.program("pg_basebackup"), "-D", "\(path)/data", "-X", "none", "-c", "fast",
        "--no-sync", "--no-verify-checksums", "-d", server.conninfo,
      ], environment: server.environment, asPostgresUser: asPostgresUser)
    if !asPostgresUser, getuid() == 0 { try run(["chown", "-R", "postgres:postgres", path]) }
  }

  public func insertLSN() throws -> LSN { try lsn("pg_current_wal_insert_lsn()") }

  public func flushLSN() throws -> LSN { try lsn("pg_current_wal_flush_lsn()") }

  private func lsn(_ expression: String) throws -> LSN {
    let text = try psql("SELECT \(expression)")
    guard let lsn = LSN(text) else {
      throw CommandFailure(description: "read \(expression): '\(text)' is no LSN")
    }
    return lsn
  }
}
