import Foundation
import PostgresFormat

/// A cluster that PostgreSQL itself recovered to an LSN: what any other way to open that moment is
/// compared with.
public struct StockRecovery: Sendable {
  /// An unpacked base backup: the directory that holds `data`. It is copied, never changed.
  public var baseBackup: String
  /// Where WAL segments lie under their names: an archive, or a server's `pg_wal`.
  public var walDirectory: String
  public var major: Int
  /// Settings that must not lie below the origin's, such as `max_prepared_transactions`.
  public var settings: [String]

  public init(
    baseBackup: String, walDirectory: String, major: Int = 15, settings: [String] = []
  ) {
    self.baseBackup = baseBackup
    self.walDirectory = walDirectory
    self.major = major
    self.settings = settings
  }

  /// Recovers to `target` and returns the server, running and promoted.
  ///
  /// Every record that begins below `target` is replayed and none after
  /// (`recovery_target_inclusive`
  /// is off), so a record boundary is meant; `target` must not lie before the backup's end. The WAL
  /// must reach past `target`: a record at or after it is what ends the recovery.
  /// - Throws: ``CommandFailure`` with the server's log when the target was not reached, so that a
  ///   recovery that ended early is never taken for one that arrived.
  public func recover(to target: LSN, in directory: String) throws -> StockServer {
    try StockServer.makeOwnedDirectory(directory)
    try run(
      ["cp", "-a", "--reflink=auto", "\(baseBackup)/data", "\(directory)/data"],
      asPostgresUser: true)
    let server = try StockServer(
      adopting: directory, major: major,
      settings: settings + [
        "archive_mode=off", "primary_conninfo=''", "synchronous_standby_names=''",
        "restore_command='cp \(walDirectory)/%f %p'", "recovery_target_lsn='\(target)'",
        "recovery_target_inclusive=off", "recovery_target_action=promote",
        "recovery_target_timeline='current'", "hot_standby=off",
      ])
    try run(["touch", "\(server.dataDirectory)/recovery.signal"], asPostgresUser: true)
    try server.start()
    try StockRecovery.waitForPromotion(of: server)
    try StockRecovery.requireStop(at: target, log: "\(directory)/log")
    return server
  }

  /// Without hot standby `pg_ctl` calls a server started while it still replays; connections come
  /// later.
  private static func waitForPromotion(of server: StockServer) throws {
    let deadline = Date().addingTimeInterval(300)
    let probe = [
      server.connection.program("pg_isready"), "-q", "-h", server.directory, "-p", "\(server.port)",
    ]
    while try run(probe, allowFailure: true).status != 0 {
      guard server.processIdentifier != nil, Date() < deadline else {
        let log = try String(contentsOfFile: "\(server.directory)/log", encoding: .utf8)
        throw CommandFailure(description: "recover \(server.directory): gone\n\(log.suffix(3000))")
      }
      usleep(20_000)
    }
  }

  /// The log names the LSN that ended the recovery; nothing else tells an early end from arrival.
  private static func requireStop(at target: LSN, log: String) throws {
    let text = try String(contentsOfFile: log, encoding: .utf8)
    let said = text.split(separator: "\n").last {
      $0.contains("recovery stopping before WAL location (LSN)")
    }
    guard let said, said.contains("\"\(target)\"") else {
      throw CommandFailure(description: "recover to \(target): not reached\n\(text.suffix(3000))")
    }
  }
}
