import APITypes
import Catalog
import Foundation

/// Takes over what was changed by SQL in running computes: databases made, dropped, renamed or given away,
/// and passwords.
///
/// Only where the compute has what the catalog wants of it and nothing is about to change it: otherwise
/// what differs is what the catalog is about to bring there.
struct TenantSync: Sendable {
  let core: Core

  /// One look at every active compute; one that cannot be asked is looked at next time.
  func round() async throws {
    for endpoint in try await core.activeEndpoints() where endpoint.type == .readWrite {
      do {
        try await sync(endpoint.id)
      } catch is CancellationError {
        throw CancellationError()
      } catch {
        core.logger.debug(
          "compute not compared", metadata: ["endpoint": "\(endpoint.id)", "error": "\(error)"])
      }
    }
  }

  private func sync(_ id: EndpointID) async throws {
    guard let subject = try await core.catalog.read({ try settled(id, $0) }),
      let place = subject.running,
      let running = await core.fleet.running(line: place.lineID),
      running.computeID == place.computeID
    else { return }
    let contents = try await core.tenants.contents(of: running)
    guard differs(subject, contents) else { return }
    try await core.catalog.write { tx in
      guard let now = try settled(id, tx), now.line.configuration == subject.line.configuration
      else { return }
      try takeOver(contents, now, tx)
    }
  }

  /// The endpoint, where nothing of it waits to be applied.
  private func settled(_ id: EndpointID, _ tx: CatalogTransaction) throws -> EndpointSubject? {
    guard let subject = try EndpointSubject(id, tx), subject.endpoint.state == .active,
      subject.endpoint.pendingState == nil
    else { return nil }
    let locks = [
      OperationLock.endpoint(id), OperationLock.branch(subject.branch.id),
      OperationLock.project(subject.project.id),
    ]
    guard try tx.holder(of: locks, in: subject.project.id) == nil,
      subject.line.configuration == (try OperationSteps.fingerprint(subject.appliedConfiguration))
    else { return nil }
    return subject
  }

  private func differs(_ subject: EndpointSubject, _ contents: TenantContents) -> Bool {
    let databases = Set(
      subject.databases.filter { !$0.isDropped }.map {
        DatabaseRequest(name: $0.name, owner: $0.ownerName)
      })
    if databases != Set(contents.databases) { return true }
    return subject.roles.contains { changed($0, contents) != nil }
  }

  /// The verifier that the compute has for the role where it is another one than the catalog's.
  private func changed(_ role: RoleRecord, _ contents: TenantContents) -> String? {
    guard role.canLogin, !role.isDropped, let verifier = contents.verifiers[role.name],
      verifier.hasPrefix("SCRAM-SHA-256$"), verifier != role.scramVerifier
    else { return nil }
    return verifier
  }

  private func takeOver(
    _ contents: TenantContents, _ subject: EndpointSubject, _ tx: CatalogTransaction
  ) throws {
    let now = core.clock.now
    for var role in subject.roles {
      guard let verifier = changed(role, contents) else { continue }
      role.scramVerifier = verifier
      // Nobody here knows the password that belongs to it.
      role.sealedPassword = nil
      role.updatedAt = now
      try tx.update(role)
    }
    let owners = Dictionary(contents.databases.map { ($0.name, $0.owner) }) { $1 }
    for var database in subject.databases where !database.isDropped {
      guard let owner = owners[database.name] else {
        try tx.deleteDatabase(database.id)
        continue
      }
      guard owner != database.ownerName else { continue }
      database.ownerName = owner
      database.updatedAt = now
      try tx.update(database)
    }
    try TenantReconciliation(core: core, subject: subject, contents: contents).apply(tx)
    guard var line = try tx.line(subject.line.id),
      let after = try EndpointSubject(subject.endpoint.id, tx)
    else { return }
    line.configuration = try OperationSteps.fingerprint(after.appliedConfiguration)
    try tx.update(line)
  }
}
