import APITypes
import Catalog
import Foundation

/// One request that tells where an attached server is from now on, or who connects to it: its password was
/// changed, it has moved, its certificate has another issuer.
///
/// The server that answers there must be the one that is followed. Following goes on by itself, where it had
/// ended for want of it too; a copy that could not be made is begun anew. With `copy_anew`: ``AttachmentRenewal``.
struct AttachmentUpdate {
  let core: Core
  let project: ProjectID
  let request: API.AttachmentUpdateRequest
  let account: AccountID

  func run() async throws -> API.AttachmentOperations {
    let service = AttachmentService(core: core)
    let known = try await core.catalog.read { try service.record($0, project, account) }
    let copiesAnew = request.copyAnew == true
    guard copiesAnew || request.source != nil else {
      throw ControlPlaneError(
        .badValue, "'source' is missing", hint: "give it, or copy_anew, or both")
    }
    if !copiesAnew { try refuseOver(known) }
    let server = try server(known)
    let found = try await Self.inspect(server, core)
    try requireSame(known, server, found)
    let (record, operations) =
      try await (copiesAnew ? renewed(known, server, found) : updated(server, found))
    core.added.fire()
    let presenter = Presenter(core: core)
    return API.AttachmentOperations(
      attachment: service.present(
        record, await core.fleet.followStatus(line: record.lineID.rawValue)),
      operations: operations.map(presenter.operation))
  }

  /// As the request names it; what it leaves out is as it was.
  private func server(_ known: AttachmentRecord) throws -> AttachedServer {
    let before = try known.request(core).server
    guard let source = request.source else { return before }
    var server = try AttachedServer(source)
    server.password = server.password ?? before.password
    if server.sslMode?.hasPrefix("verify-") == true {
      server.rootCertificate = server.rootCertificate ?? before.rootCertificate
    }
    return server
  }

  private func updated(
    _ server: AttachedServer, _ found: SourceDescription
  ) async throws -> (AttachmentRecord, [OperationRecord]) {
    let result = try await core.catalog.write { tx in try self.write(server, found, tx) }
    // It is started again with what holds from now on: by the copy's operation, or by the keeper.
    try await core.fleet.pauseFollowing(line: result.0.lineID.rawValue)
    if result.0.status == .following { _ = try await core.fleet.follow(try result.0.request(core)) }
    return result
  }

  private func renewed(
    _ known: AttachmentRecord, _ server: AttachedServer, _ found: SourceDescription
  ) async throws -> (AttachmentRecord, [OperationRecord]) {
    let renewal = AttachmentRenewal(
      core: core, account: account, server: server, description: found)
    try await renewal.check(known)
    try CopyRoom(source: found).require("\(server.host):\(server.port)")
    return try await renewal.run(known)
  }

  static func inspect(_ server: AttachedServer, _ core: Core) async throws -> SourceDescription {
    do {
      return try await core.fleet.inspect(server)
    } catch let error as ComputeFleetError {
      throw ControlPlaneError(.sourceRefused, error.message)
    }
  }

  private func refuseOver(_ record: AttachmentRecord) throws {
    guard record.status == .detached || record.status == .interrupted else { return }
    throw ControlPlaneError(
      .attachmentNotFound,
      "change how project '\(record.projectID)' follows its server: it does not follow one any more",
      hint: "copy_anew ('exzo attach update --copy-anew') copies it anew into the project")
  }

  private func requireSame(
    _ record: AttachmentRecord, _ server: AttachedServer, _ found: SourceDescription
  ) throws {
    guard found.systemIdentifier == record.source.systemIdentifier else {
      throw ControlPlaneError(
        .sourceRefused,
        "follow '\(server.host):\(server.port)': its system identifier is \(found.systemIdentifier), the "
          + "project follows server \(record.source.systemIdentifier)",
        hint: "attach it as a project of its own")
    }
  }

  static func set(
    _ record: inout AttachmentRecord, _ server: AttachedServer, _ found: SourceDescription,
    _ core: Core
  ) throws {
    record.host = server.host
    record.port = server.port
    record.roleName = server.user
    record.databaseName = server.database
    record.sslMode = server.sslMode
    record.sealedPassword = try NewAttachmentRows.sealed(server.password, record.projectID, core)
    record.source = found
    record.source.rootCertificate = server.rootCertificate
    record.updatedAt = core.clock.now
  }

  private func write(
    _ server: AttachedServer, _ found: SourceDescription, _ tx: CatalogTransaction
  ) throws -> (AttachmentRecord, [OperationRecord]) {
    let project = try core.lock(tx, project, of: account)
    var record = try AttachmentService(core: core).record(tx, project.id, account)
    try refuseOver(record)
    try Self.set(&record, server, found, core)
    let operations = try record.status == .failed ? goOn(&record, project, tx) : []
    record.error = nil
    try tx.update(record)
    return (record, operations)
  }

  /// What failed at its first copy is copied anew; where the copy is there, following goes on: its slot has kept the
  /// WAL, or following says what is missing.
  private func goOn(
    _ record: inout AttachmentRecord, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> [OperationRecord] {
    guard try tx.branch(record.branchID)?.lineID == record.lineID,
      let line = try tx.line(record.lineID)
    else {
      throw ControlPlaneError(
        .attachmentNotFound,
        "follow server '\(record.host):\(record.port)': branch '\(record.branchID)' was restored, and does "
          + "not hold what the server writes any more",
        hint: "'exzo detach' drops what is left there; then attach it as a project of its own")
    }
    guard !line.isOpened else {
      record.status = .following
      return []
    }
    try CopyRoom(source: record.source).require("\(record.host):\(record.port)")
    record.status = .copying
    return [
      try tx.enqueue(
        OperationRecord(
          .attachSource, core, project: project, branch: record.branchID,
          locks: [OperationLock.branch(record.branchID)]))
    ]
  }
}

extension AttachmentService {
  /// Tells where the server is from now on, and who connects to it; following goes on by itself.
  public func update(
    _ project: ProjectID, _ request: API.AttachmentUpdateRequest, account: AccountID
  ) async throws -> API.AttachmentOperations {
    try await AttachmentUpdate(
      core: core, project: project, request: request, account: account
    ).run()
  }
}
