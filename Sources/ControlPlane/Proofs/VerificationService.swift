import APITypes
import Catalog
import Foundation

/// Checks of all that the object store holds: asked for, done one after the other, kept.
public struct VerificationService: Sendable {
  let core: Core

  /// Problems that are kept with a result.
  private static let keptProblems = 100

  /// Asks for a verification of a project, or of everything (`project` nil: the operator's).
  public func start(project: ProjectID?, account: AccountRecord) async throws -> API.Verification {
    try requireOperator(project, account)
    let record = try await core.catalog.write { tx in
      if let project { _ = try core.project(tx, project, of: account.id) }
      return try tx.insert(
        VerificationRecord(
          id: core.names.verification(), accountID: account.id, plan: account.plan,
          projectID: project, status: API.ProofStatus.scheduled.rawValue, createdAt: core.clock.now)
      )
    }
    return Self.present(record)
  }

  public func list(
    project: ProjectID?, account: AccountRecord, limit: Int
  ) async throws -> [API.Verification] {
    try requireOperator(project, account)
    return try await core.catalog.read { tx in
      if let project { _ = try core.project(tx, project, of: account.id) }
      return try tx.verifications(of: project, limit: limit).map(Self.present)
    }
  }

  public func get(
    _ id: String, project: ProjectID?, account: AccountRecord
  ) async throws -> API.Verification {
    try requireOperator(project, account)
    return try await core.catalog.read { tx in
      if let project { _ = try core.project(tx, project, of: account.id) }
      guard let found = try tx.verification(id), found.projectID == project else {
        throw ControlPlaneError(.verificationNotFound, "find verification '\(id)': there is none")
      }
      return Self.present(found)
    }
  }

  private func requireOperator(_ project: ProjectID?, _ account: AccountRecord) throws {
    guard project != nil || account.isAdmin else {
      throw ControlPlaneError(
        .routeNotFound, "verify everything: that is the operator's",
        hint: "verify a project of yours")
    }
  }

  private static func present(_ record: VerificationRecord) -> API.Verification {
    API.Verification(
      id: record.id, projectID: record.projectID?.rawValue,
      status: API.ProofStatus(rawValue: record.status) ?? .error, lines: record.result.lines,
      objects: record.result.objects, bytes: record.result.bytes, moments: record.result.moments,
      problems: record.result.problems, problemsCount: record.result.problemsCount,
      error: record.error, createdAt: record.createdAt, finishedAt: record.finishedAt)
  }

  // MARK: work

  /// Does the oldest that was asked for; asks for the regular one where it is due.
  /// - Returns: whether there was something to do.
  func work() async throws -> Bool {
    try await scheduleRegular()
    guard var record = try await core.catalog.read({ try $0.nextVerification() }) else {
      return false
    }
    record.status = API.ProofStatus.running.rawValue
    try await update(record)
    do {
      record.result = try await verify(record.projectID)
      let isWhole = record.result.problemsCount == 0
      record.status = (isWhole ? API.ProofStatus.passed : .failed).rawValue
    } catch is CancellationError {
      throw CancellationError()
    } catch {
      record.status = API.ProofStatus.error.rawValue
      record.error = "\(error)"
    }
    record.finishedAt = core.clock.now
    try await update(record)
    return true
  }

  private func update(_ record: VerificationRecord) async throws {
    try await core.catalog.write { try $0.update(record) }
  }

  private func scheduleRegular() async throws {
    let interval = core.settings.proofs.verificationInterval
    guard interval > 0 else { return }
    let now = core.clock.now
    try await core.catalog.write { tx in
      guard let admin = try tx.firstAdministrator() else { return }
      let last = try tx.verifications(of: nil, limit: 1).first?.createdAt ?? admin.createdAt
      guard now.timeIntervalSince(last) >= interval else { return }
      try tx.insert(
        VerificationRecord(
          id: core.names.verification(), accountID: admin.id, plan: admin.plan, projectID: nil,
          status: API.ProofStatus.scheduled.rawValue, createdAt: now))
    }
  }

  private func verify(_ project: ProjectID?) async throws -> VerificationRecord.Result {
    let retention = RetentionService(core: core)
    var promises = try await retention.promises(withGuarded: true)
    if let project {
      let lines = try await core.catalog.read { tx in
        Set(try tx.allLines().filter { $0.projectID == project }.map(\.id.rawValue))
      }
      promises.removeAll { !lines.contains($0.lineID) }
    }
    let opened = try await core.catalog.read { tx in
      Set(try tx.allLines().filter(\.isOpened).map(\.id.rawValue))
    }
    var result = VerificationRecord.Result()
    for line in promises.map(\.lineID) where opened.contains(line) {
      try Task.checkCancellation()
      let request = VerificationRequest(
        lineID: line, bytesPerSecond: core.settings.proofs.verificationRate
      ) { try await retention.promises(withGuarded: true).first { $0.lineID == line } }
      guard let proof = try await core.fleet.verify(request) else { continue }
      result.lines += 1
      result.objects += proof.objects
      result.bytes += proof.bytes
      result.moments += proof.moments
      result.add(proof.problems, keeping: Self.keptProblems)
    }
    try await verifyDumps(of: project, &result)
    if project == nil, let journal = core.journal {
      result.add(try await journal.problems(), keeping: Self.keptProblems)
    }
    return result
  }
}

extension VerificationService {
  /// Every object of every dump that is kept.
  private func verifyDumps(
    of project: ProjectID?, _ result: inout VerificationRecord.Result
  ) async throws {
    for dump in try await core.catalog.read({ try $0.finishedDumps(ofProject: project) }) {
      try Task.checkCancellation()
      let proof = try await core.dumpTools.check(
        dump: dump.id.rawValue, project: dump.projectID.rawValue,
        bytesPerSecond: core.settings.proofs.verificationRate)
      // One that was deleted meanwhile is missing rightly.
      if !proof.problems.isEmpty,
        try await core.catalog.read({ try $0.dump(dump.id) })?.deletedAt != nil
      {
        continue
      }
      result.objects += proof.objects
      result.bytes += proof.bytes
      result.add(proof.problems, keeping: Self.keptProblems)
    }
  }
}

extension VerificationRecord.Result {
  fileprivate mutating func add(_ more: [String], keeping limit: Int) {
    problemsCount += more.count
    problems += more.prefix(max(0, limit - problems.count))
  }
}
