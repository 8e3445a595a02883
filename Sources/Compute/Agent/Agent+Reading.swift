import Foundation
import History
import PostgresClient
import PostgresFormat
import VolumeMount

extension Agent {
  /// Brings a moment up for reading; on return it accepts connections that cannot write.
  ///
  /// No line, no capture, no keyframes: nothing of it enters the history.
  func startReading() async throws {
    guard case .branch(let parent, let lsn) = specification.origin else {
      throw ComputeError(.agent, "read a moment: the specification names none")
    }
    try await blocking { [directory, specification] in
      try layOut(directory, specification: specification)
    }
    var prepared = try await MomentOpening(
      specification: specification, directory: directory, environment: try historyEnvironment(),
      parent: LineID(rawValue: parent), target: lsn, log: log
    ).prepareReading()
    reading = prepared
    status.opening = prepared.lazy == nil ? .replay : .lazy
    status.replayReason = prepared.replayReason
    try await admitBootstrap(prepared.bootstrapRole)
    steps.mark("prepare")
    mount = try await mount(prepared.volume)
    prepared = try await adoptForReading(prepared)
    reading = prepared
    server = ServerSession(
      directory: directory, segmentSize: prepared.control.walSegmentSize,
      user: prepared.bootstrapRole ?? ServerAccess.superuser)
    try await startServer(recovering: true)
    steps.mark("server")
    try await waitUntilReplayed(prepared.target)
    prepared.warmed?.cool()
    steps.mark("proof")
    if specification.follows != nil { watchReplica(prepared) }
  }

  /// Connections are accepted from the first consistent point on, which may lie before the moment.
  private func waitUntilReplayed(_ target: LSN) async throws {
    guard let server else { return }
    for _ in 0..<6000 {
      let (isStandby, replayed) = try await server.run { connection -> (Bool, LSN) in
        let row = try connection.query(
          """
          SELECT pg_is_in_recovery(),
            coalesce(pg_last_wal_replay_lsn(), '0/0')::text AS replayed
          """
        ).rows[0]
        return (
          try row.value("pg_is_in_recovery", as: Bool.self),
          LSN(try row.value("replayed", as: String.self)) ?? LSN(0)
        )
      }
      guard isStandby else {
        throw ComputeError(.recovery, "read the moment \(target): the server left recovery")
      }
      // A server that had nothing to replay names the checkpoint that it started from.
      if replayed >= target { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw ComputeError(
      .recovery, "read the moment \(target): replay did not reach it within a minute",
      hint: "run 'exzo verify'; nothing was changed in the history")
  }

  /// Settings that make the server one that reads.
  var readingSettings: [String: String] {
    if let upstream = specification.follows { return Self.replicaSettings(upstream) }
    return Self.standstillSettings
  }

  private static let standstillSettings = [
    "hot_standby": "on", "max_standby_streaming_delay": "-1", "max_standby_archive_delay": "-1",
    "wal_retrieve_retry_interval": "60s", "autovacuum": "off",
  ]
}
