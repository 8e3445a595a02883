import APITypes
import Catalog
import Crypto
import Foundation
import PostgresFormat

/// The computes of `read_only` endpoints: hot standbys of their branch, each on a volume of its own.
///
/// *State and invariants*: 1. A replica is opened from history at its branch's head and then follows the
/// branch's compute; it is never promoted and its volume never kept: what it lost, history has. 2. A row
/// of the catalog (``ReadingComputeRecord``) is written before one is opened and removed after it is gone:
/// the row tells which line it reads, keeps that line's history, and lets a deletion find it. 3. A
/// replica of a line that nobody has opened yet reads the moment that the line will begin at, and is
/// opened anew once the line has begun.
///
/// *Crash*: an operation that was interrupted opens it again.
struct ReplicaComputes: Sendable {
  let core: Core

  /// Directories of replicas begin with it.
  static let prefix = "ro-"
  /// Endpoints of a branch: each takes a sender and a slot of the branch's server, which has ten of both,
  /// and one of them is capture's.
  static let limit = 8

  /// Names the compute and its directory; as short as a line's name, because socket paths are limited.
  static func id(of endpoint: EndpointID) -> String {
    let digest = SHA256.hash(data: Array(endpoint.rawValue.utf8))
    return prefix
      + digest.prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// The endpoint's compute. A replica has no row of its own: this is what stands for it.
  static func compute(
    of endpoint: EndpointRecord, _ tx: CatalogTransaction
  ) throws -> ComputeRecord? {
    guard endpoint.type == .readOnly else { return try tx.compute(of: endpoint.id) }
    return ComputeRecord(
      id: ComputeID(endpoint.id.rawValue), accountID: endpoint.accountID, plan: endpoint.plan,
      projectID: endpoint.projectID, branchID: endpoint.branchID, endpointID: endpoint.id,
      lineID: CatalogLineID(id(of: endpoint.id)), createdAt: endpoint.createdAt)
  }

  /// Refuses a further endpoint where the branch has as many as can follow it.
  static func requireRoom(
    on branch: BranchRecord, _ tx: CatalogTransaction, doing action: String
  ) throws {
    let present = try tx.endpoints(of: branch.id).count { $0.type == .readOnly }
    guard present >= limit else { return }
    throw ControlPlaneError(
      .limitReached,
      "\(action): branch '\(branch.name)' has \(present) read_only endpoints, which is the most",
      hint: "delete one, or use a '-pooler' name for more connections")
  }

  // MARK: Opening and closing

  /// Opens the replica, unless it runs and reads what it should; then nothing happens.
  func open(_ subject: EndpointSubject) async throws {
    let id = subject.compute.lineID.rawValue
    if try await isRight(id, subject) { return }
    try await core.fleet.closeReading(id: id)
    let moment = try await moment(of: subject)
    let row = ReadingComputeRecord(
      id: id, accountID: subject.project.accountID, plan: subject.project.plan,
      projectID: subject.project.id, branchID: subject.branch.id,
      lineID: CatalogLineID(moment.lineID), lsn: moment.lsn, createdAt: core.clock.now)
    try await core.catalog.write { tx in
      try tx.deleteReadingCompute(id)
      _ = try tx.insert(row)
    }
    do {
      _ = try await core.fleet.openReading(
        ReadingRequest(
          id: id, projectID: subject.project.id.rawValue, lineID: moment.lineID, lsn: moment.lsn,
          major: subject.project.pgVersion, settings: subject.settings,
          endpointID: subject.endpoint.id.rawValue,
          followsLine: subject.line.isOpened ? subject.line.id.rawValue : nil))
    } catch {
      try await close(id)
      throw error
    }
  }

  /// Ends the replica and removes its volume; one that is not there is no error.
  func close(_ id: String) async throws {
    try await core.fleet.closeReading(id: id)
    try await core.catalog.write { try $0.deleteReadingCompute(id) }
  }

  /// Ends those of the operation's endpoint, else of its branch, else of the whole project.
  func closeAll(of operation: OperationRecord) async throws {
    let rows = try await core.catalog.read { try $0.readingComputes() }
    for row in rows where row.id.hasPrefix(Self.prefix) && row.projectID == operation.projectID {
      if let endpoint = operation.endpointID {
        guard row.id == Self.id(of: endpoint) else { continue }
      } else if let branch = operation.branchID {
        guard row.branchID == branch else { continue }
      }
      try await close(row.id)
    }
  }

  /// Whether it runs and reads the line that it should.
  private func isRight(_ id: String, _ subject: EndpointSubject) async throws -> Bool {
    guard await core.fleet.running(line: id) != nil else { return false }
    let row = try await core.catalog.read { try $0.readingCompute(id) }
    guard row?.lineID == subject.replicaLine else { return false }
    return subject.line.isOpened || row?.lsn == subject.line.parentLSN
  }

  /// The branch's head; where its last WAL is not stored yet, the end of what is: the rest comes when its
  /// compute runs.
  private func moment(of subject: EndpointSubject) async throws -> ResolvedMoment {
    guard subject.line.isOpened else {
      guard let parent = subject.line.parentID, let lsn = subject.line.parentLSN else {
        throw ComputeFleetError(
          .temporary,
          "open endpoint '\(subject.endpoint.id)': branch '\(subject.branch.name)' has never run; "
            + "start its read_write endpoint first")
      }
      return ResolvedMoment(lineID: parent.rawValue, lsn: lsn)
    }
    let line = subject.line.id.rawValue
    do {
      return try await core.fleet.resolve(line: line, moment: .head)
    } catch let error as ComputeFleetError where error.code == .temporary {
      let stored = try await core.fleet.window(line: line).latestLSN
      return try await core.fleet.resolve(line: line, moment: .lsn(stored))
    }
  }

  // MARK: Keeping them right

  /// Opens anew the replicas of a branch that has another line now. What cannot be opened goes to sleep:
  /// the next connection tries again.
  func reopen(_ branch: BranchID) async throws {
    let endpoints = try await core.catalog.read { tx in
      try tx.endpoints(of: branch).filter { $0.type == .readOnly && $0.state == .active }
    }
    for endpoint in endpoints {
      guard let subject = try await core.catalog.read({ try EndpointSubject(endpoint.id, $0) })
      else { continue }
      do {
        // One that reads the former line, which the branch's new one begins at, follows that still.
        try await core.fleet.closeReading(id: subject.compute.lineID.rawValue)
        try await open(subject)
      } catch let error as ComputeFleetError {
        core.logger.warning(
          "a replica was not opened anew",
          metadata: ["endpoint": "\(endpoint.id)", "error": "\(error)"])
        try await core.catalog.write { tx in
          guard let now = try tx.endpoint(endpoint.id) else { return }
          try OperationSteps.setIdle(now, tx, at: core.clock.now)
        }
      }
    }
  }

  /// Restarts active replicas that have ended, or read a line that is no longer their branch's.
  func round() async throws {
    let replicas = try await core.activeEndpoints()
      .filter { $0.type == .readOnly && $0.pendingState == nil }
    if replicas.isEmpty { return }
    let subjects = try await core.catalog.read { tx in
      try replicas.compactMap { try EndpointSubject($0.id, tx) }
    }
    for subject in subjects {
      if try await isRight(subject.compute.lineID.rawValue, subject) { continue }
      core.logger.notice(
        "a replica is opened anew", metadata: ["endpoint": "\(subject.endpoint.id)"])
      do {
        _ = try await EndpointService(core: core).change(
          subject.endpoint.id, subject.project.id, subject.project.accountID, .restartCompute,
          to: .active
        ) { $0.state == .active }
      } catch let error as ControlPlaneError {
        // Another operation holds it, or its quota is used up: the next round looks again.
        core.logger.debug("a replica waits", metadata: ["reason": "\(error)"])
      }
    }
  }
}

extension EndpointSubject {
  /// The line that a replica of the branch reads: the branch's, or the one that it will begin on.
  var replicaLine: CatalogLineID? { line.isOpened ? line.id : line.parentID }
}

extension RunningCompute {
  /// Whether it is a replica: its sessions cannot write.
  public var isReplica: Bool { lineID.hasPrefix(ReplicaComputes.prefix) }
}
