import Foundation
import PostgresClient
import VolumeMount

extension Agent {
  /// Brings today's roles into a moment of a server elsewhere that sessions are to log in to: a standby can make
  /// none. The moment is brought up once as a branch would be and adopted; what that wrote stays in this volume and
  /// this `pg_wal`, which nobody captures, and the server that reads starts on it.
  ///
  /// Needs the mounted volume; on return no server runs on it.
  func adoptForReading(_ prepared: PreparedReading) async throws -> PreparedReading {
    guard let formerName = prepared.bootstrapRole, let roles = specification.roles, !roles.isEmpty
    else { return prepared }
    let adoption = ClusterAdoption(directory: directory, formerName: formerName, roles: roles)
    var settings = specification.settings
    settings.raise(to: prepared.parameters, isStandby: true)
    settings.fit(walSegmentSize: prepared.control.walSegmentSize)
    settings.extra.merge(readingSettings) { $1 }
    let limit = try await limitation()
    try await blocking { [directory, specification, settings] in
      let signal = "\(directory.mountPoint)/standby.signal"
      try OwnMount.reach { try FileManager.default.removeItem(atPath: signal) }
      let postmaster = try Postmaster(
        installation: PostgresInstallation(
          major: specification.major, binaries: specification.binaries),
        directory: directory, identity: specification.identity, settings: settings,
        recovering: true, withoutApplyWorkers: true, onStart: limit, onExit: { _ in })
      defer { postmaster.signal(SIGKILL) }
      try postmaster.waitUntilReady(seconds: 600)
      try adoption.run()
      try Self.letIn(roles, directory)
      postmaster.signal(SIGINT)
      guard postmaster.waitForExit(seconds: 120) == 0 else {
        throw ComputeError(
          .process,
          "adopt the moment: the server did not shut down: "
            + (postmaster.log.fatal ?? postmaster.log.recent.last ?? "without a word"))
      }
      try endProcesses(workingIn: directory.mountPoint)
      let isWritten = try OwnMount.reach {
        FileManager.default.createFile(atPath: signal, contents: Data())
      }
      guard isWritten else {
        throw ComputeError(.process, "adopt the moment: write '\(signal)' failed")
      }
    }
    var adopted = prepared
    adopted.bootstrapRole = nil
    return adopted
  }

  /// Adopted roles cannot log in until they are today's.
  private static func letIn(_ roles: [RoleCredential], _ directory: LineDirectory) throws {
    let connection = try PostgresConnection(ServerAccess.parameters(directory))
    defer { connection.close() }
    try TodaysRoles(roles: roles).install(connection)
  }
}
