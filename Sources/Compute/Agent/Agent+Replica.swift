import Foundation
import History
import PostgresClient
import PostgresFormat
import Volume

extension Agent {
  /// Settings of a server that follows another.
  ///
  /// Its slot is temporary: one that is gone holds no WAL back (`wal_receiver_create_temp_slot`). Nothing
  /// of it is durable, because it is opened from history again after any accident; for the same reason a
  /// crash of one of its processes ends it, rather than that it replays its own `pg_wal`, in which records
  /// that were no-ops at the opening lie beside their originals.
  static func replicaSettings(_ upstream: String) -> [String: String] {
    [
      "hot_standby": "on", "autovacuum": "off", "primary_conninfo": conninfo(upstream),
      "wal_receiver_create_temp_slot": "on", "wal_retrieve_retry_interval": "1s",
      "restart_after_crash": "off", "fsync": "off",
    ]
  }

  private static func conninfo(_ upstream: String) -> String {
    let host = upstream.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
    return "host='\(host)' port=5432 user=\(ServerAccess.superuser) application_name=exzo_replica"
  }

  /// Looks after a server that follows another, until the compute ends.
  func watchReplica(_ prepared: PreparedReading) {
    background.append(Task { await self.watchReplay() })
    background.append(Task { await self.boundLog(of: prepared.volume) })
    if let lazy = prepared.lazy { makePagesAhead(lazy) }
  }

  /// Or about to be: its tasks start a little earlier.
  private var isUp: Bool { status.phase == .opening || status.phase == .running }

  /// The compute is of no use any more: it ends, and whoever started it opens it anew.
  func failReplica(_ reason: String) {
    guard status.phase == .running else { return }
    let error = ComputeError(
      .process, "follow the branch's server: \(reason)", hint: "it is opened anew from history")
    log.error("the replica ends", metadata: ["error": "\(error)"])
    fail(error)
    postmaster?.signal(SIGQUIT)
  }

  // MARK: Replay

  private func watchReplay() async {
    var watch = ReplayWatch()
    while !Task.isCancelled, isUp {
      do {
        try await Task.sleep(for: ReplayWatch.interval)
        guard let server else { return }
        let sight = try await server.run { try ReplayWatch.Sight($0) }
        switch watch.observe(sight, at: .now) {
        case .nothing: break
        case .end(let reason): failReplica(reason)
        case .compareWithStore:
          let stored = try await storedHead()
          if stored > sight.replayed {
            failReplica("it stands at \(sight.replayed), history goes on to \(stored)")
          }
        }
      } catch is CancellationError {
        return
      } catch {
        // A server that is gone is noticed by whoever reaps it.
        log.warning("replay was not looked at", metadata: ["error": "\(error)"])
      }
    }
  }

  /// The end of the last whole record of the line in the store.
  private func storedHead() async throws -> LSN {
    guard case .branch(let line, _) = specification.origin else { return .invalid }
    let environment = try historyEnvironment()
    let history = try await LineHistory.open(LineID(rawValue: line), store: environment.store)
    return try await history.seek(.head, now: environment.now()).lsn
  }

  // MARK: Volume

  /// Log since the last seal above which space is given back; bytes.
  private static let logBudget: UInt64 = 64 << 20
  private static let logInterval = Duration.seconds(5)

  /// Nobody wants the volume's epochs: they are ended only so that their log can go.
  private func boundLog(of volume: Volume) async {
    while !Task.isCancelled, isUp {
      do {
        try await Task.sleep(for: Self.logInterval)
        guard volume.statistics.bytesSinceSeal > Self.logBudget else { continue }
        try await blocking { try volume.forget(epoch: volume.seal().number) }
      } catch is CancellationError {
        return
      } catch {
        log.error("the volume's log grows", metadata: ["error": "\(error)"])
      }
    }
  }
}

/// What to make of looks at a server that follows another.
///
/// It may be without a stream for as long as its branch's server sleeps; it is lost when history goes on
/// without it, which is so when the WAL that it lacks is no longer with that server.
struct ReplayWatch {
  static let interval = Duration.seconds(1)
  /// How long it may be without a stream before history is asked, and from then on each time again.
  static let patience = Duration.seconds(10)

  struct Sight: Sendable, Equatable {
    var isStandby: Bool
    var isPaused: Bool
    var isStreaming: Bool
    var replayed: LSN
  }

  enum Verdict: Equatable {
    case nothing
    case compareWithStore
    case end(String)
  }

  private var lastGood: ContinuousClock.Instant?

  mutating func observe(_ sight: Sight, at now: ContinuousClock.Instant) -> Verdict {
    guard sight.isStandby else { return .end("it left recovery") }
    guard !sight.isPaused else {
      return .end("replay is paused: the branch's server allows more than this one")
    }
    if sight.isStreaming || lastGood == nil {
      lastGood = now
      return .nothing
    }
    guard let good = lastGood, now - good >= Self.patience else { return .nothing }
    lastGood = now
    return .compareWithStore
  }
}

extension ReplayWatch.Sight {
  init(_ connection: PostgresConnection) throws {
    let row = try connection.query(
      """
      SELECT pg_is_in_recovery() AS standby,
        CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END AS paused,
        EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
        coalesce(pg_last_wal_replay_lsn(), '0/0')::text AS replayed
      """
    ).rows[0]
    isStandby = try row.value("standby", as: Bool.self)
    isPaused = try row.value("paused", as: Bool.self)
    isStreaming = try row.value("streaming", as: Bool.self)
    replayed = LSN(try row.value("replayed", as: String.self)) ?? .invalid
  }
}
