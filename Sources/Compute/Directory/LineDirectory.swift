/// The places on local disk that belong to one line's compute.
///
/// ```
/// <data dir>/lines/ln-…/
///   compute.json   what the agent is to run          volume/  page log, backing files, state
///   agent.sock     control socket                    pgdata/  mount point, PGDATA of the server
///   agent.log  postgres.log                          wal/     pg_wal, plain local disk
///   run/  unix socket of the server, hba and ident   spool/   WAL received and not yet uploaded
/// ```
public struct LineDirectory: Sendable, Equatable {
  public let path: String

  public init(_ path: String) { self.path = path }

  public init(dataDirectory: String, line: String) {
    path = "\(dataDirectory)/lines/\(line)"
  }

  public var specification: String { "\(path)/compute.json" }
  public var controlSocket: String { "\(path)/agent.sock" }
  /// Held by the living agent.
  public var agentLock: String { "\(path)/agent.lock" }
  /// Present while everything the compute ever acknowledged is in the object store: after a clean stop.
  public var drainedMarker: String { "\(path)/drained" }
  public var followedDrainedMarker: String { "\(path)/drained-following" }
  public var agentLog: String { "\(path)/agent.log" }
  public var serverLog: String { "\(path)/postgres.log" }
  public var volume: String { "\(path)/volume" }
  /// What changed since the newest complete layer; see `ChangesFile`.
  public var changedBlocks: String { "\(path)/changed-blocks" }
  public var mountPoint: String { "\(path)/pgdata" }
  public var wal: String { "\(path)/wal" }
  public var spool: String { "\(path)/spool" }
  public var run: String { "\(path)/run" }
  /// Layers are built here before they are stored.
  public var scratch: String { "\(path)/scratch" }
  public var hostBasedAuthentication: String { "\(run)/pg_hba.conf" }
  public var identMap: String { "\(run)/pg_ident.conf" }
  /// Present from the moment an opening is proven right; without it the directory is begun anew.
  public var openedMarker: String { "\(path)/opened" }

  /// Target of the `pg_wal` symbolic link inside every volume, relative to PGDATA.
  public static let walLinkTarget = "../wal"
}
