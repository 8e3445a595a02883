import APITypes
import Catalog
import Foundation
import Logging

/// Makes a catalog that came from the object store true on the machine that it came to.
///
/// *State and invariants*: 1. Every line that the lost machine may have written is taken over before
/// anything goes on from it: what that machine still puts does not count. 2. Every branch goes on, on a
/// new line, from the head that the store holds; its window reaches as far back as before. What follows a server
/// elsewhere goes on with the same line: that server writes it, and its slot has kept what the store lacks. 3. All
/// of it is one transaction, in which the mark of the unfinished recovery goes too.
///
/// *Crash*: begun anew; taking a line over twice is harmless.
public struct MachineRecovery: Sendable {
  let core: Core

  /// Lines that are taken over at a time.
  private static let width = 8

  /// What was brought back.
  public struct Report: Sendable, Equatable {
    public var accounts = 0
    public var projects = 0
    public var branches = 0
    public var snapshots = 0
    /// Operations that the loss ended.
    public var endedOperations = 0
    /// Of branches that cannot be opened, by the name of the object.
    public var damages: [String] = []
  }

  private struct Survey: Sendable {
    var branches: [BranchRecord]
    var lines: [CatalogLineID: LineRecord]
    /// Lines that a compute of the lost machine may be writing.
    var written: Set<CatalogLineID>
    /// Lines that follow servers elsewhere, and of them those whose first copy was not complete.
    var following: Set<CatalogLineID>
    var copying: Set<CatalogLineID>
  }

  /// - Parameters:
  ///   - continuesDespiteDamage: brings branches whose history is damaged back as they are, which cannot
  ///     be opened, instead of refusing all.
  ///   - keep: gets the administrator's new API key before it is valid.
  /// - Returns: `nil` where no recovery is unfinished.
  /// - Throws: ``ControlPlaneError`` `.historyDamaged` naming every object; the fleet's errors.
  public func run(
    continuesDespiteDamage: Bool, keep: @Sendable (String) throws -> Void
  ) async throws -> Report? {
    guard try await core.catalog.read({ try $0.unfinishedRecovery() }) != nil else { return nil }
    let survey = try await survey()
    let (heads, damages) = try await takeOver(survey)
    guard damages.isEmpty || continuesDespiteDamage else {
      throw ControlPlaneError(
        .historyDamaged,
        "recover \(survey.branches.count) branches: the history of \(damages.count) lines is damaged:\n"
          + damages.values.sorted().joined(separator: "\n"),
        hint:
          "recover from the second store, or give --recover-despite-damage: then these branches "
          + "come back closed")
    }
    let accounts = AccountService(core: core)
    let key = accounts.newKey()
    try keep(key)
    let damaged = Set(damages.keys)
    var report = try await core.catalog.write { tx in
      var report = Report(damages: damages.values.sorted())
      report.endedOperations = try EndedOperations(core: core).end(tx)
      try forgetComputes(tx)
      for branch in survey.branches
      where !damaged.union(survey.following).contains(branch.lineID) {
        try self.revive(branch, survey, heads, tx)
      }
      try self.layEndpointsToSleep(survey, tx)
      report.branches = survey.branches.count
      report.projects = try tx.allProjects().count { $0.deletedAt == nil }
      report.snapshots = try tx.allSnapshots().count
      report.accounts = try tx.accountCount()
      try accounts.insertRecovered(key, tx)
      try tx.finishRecovery()
      return report
    }
    report.damages = damages.values.sorted()
    return report
  }

  private func survey() async throws -> Survey {
    try await core.catalog.read { tx in
      let living = Set(try tx.allProjects().filter { $0.deletedAt == nil }.map(\.id))
      let branches = try tx.branches(recoverableSince: .distantFuture)
        .filter { living.contains($0.projectID) }
      let lines = try tx.allLines()
      let attachments = try tx.liveAttachments()
      return Survey(
        branches: branches,
        lines: Dictionary(lines.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first }),
        written: try tx.computeLines(), following: Set(attachments.map(\.lineID)),
        copying: Set(attachments.filter { $0.status == .copying }.map(\.lineID)))
    }
  }

  // MARK: Lines

  /// The heads of lines that the store holds, and what is wrong with others.
  private func takeOver(
    _ survey: Survey
  ) async throws -> (heads: [CatalogLineID: ResolvedMoment], damages: [CatalogLineID: String]) {
    let needed = Set(survey.branches.map(\.lineID))
    // A copy that was under way is made anew, by a writer that takes the line over.
    let lines = needed.union(survey.written).subtracting(survey.copying).sorted()
    var heads: [CatalogLineID: ResolvedMoment] = [:]
    var damages: [CatalogLineID: String] = [:]
    try await withThrowingTaskGroup(
      of: (CatalogLineID, Result<ResolvedMoment?, ComputeFleetError>).self
    ) { group in
      var next = lines.makeIterator()
      func addNext() {
        guard let line = next.next() else { return }
        group.addTask {
          do {
            return (line, .success(try await core.fleet.takeOver(line: line.rawValue)))
          } catch let error as ComputeFleetError where error.code == .damaged {
            return (line, .failure(error))
          }
        }
      }
      for _ in 0..<Self.width { addNext() }
      while let (line, outcome) = try await group.next() {
        addNext()
        switch outcome {
        case .success(let head?): heads[line] = head
        case .success(nil):
          if needed.contains(line), survey.lines[line]?.isOpened == true {
            damages[line] = "line '\(line)': its history 'lines/\(line)/line' is not in the store"
          }
        case .failure(let error):
          if needed.contains(line) { damages[line] = "line '\(line)': \(error)" }
        }
      }
    }
    return (heads, damages)
  }

  /// Puts the branch on a new line, which starts where the store's history of it ends.
  private func revive(
    _ branch: BranchRecord, _ survey: Survey, _ heads: [CatalogLineID: ResolvedMoment],
    _ tx: CatalogTransaction
  ) throws {
    guard let project = try tx.project(branch.projectID), let former = survey.lines[branch.lineID]
    else { return }
    let lines = NewLine(core: core, project: project)
    var line: LineRecord
    if let head = heads[branch.lineID] {
      line = try lines.insert(at: head, inheritsWindow: true, tx)
      // Applied again at the next start: a change of roles may be newer than the WAL that was stored.
      line.configuration = ""
      try tx.update(line)
    } else if let parent = former.parentID, let lsn = former.parentLSN {
      // Nothing had opened it yet.
      line = try lines.insert(
        at: ResolvedMoment(lineID: parent.rawValue, lsn: lsn, time: former.parentTime),
        inheritsWindow: former.inheritsWindow, tx)
    } else {
      line = try lines.insertRoot(tx)
    }
    var revived = branch
    revived.lineID = line.id
    revived.updatedAt = core.clock.now
    // A copy of a schema that was not finished is not gone on with.
    if revived.state == "init" {
      revived.state = revived.initSource == BranchCreation.schemaOnly ? "failed" : "ready"
      revived.stateChangedAt = core.clock.now
    }
    try tx.update(revived)
  }

  // MARK: Computes

  /// None runs any more, and their volumes are gone.
  private func forgetComputes(_ tx: CatalogTransaction) throws {
    for project in try tx.allProjects() {
      for compute in try tx.computes(project: project.id, branch: nil, endpoint: nil) {
        try tx.deleteCompute(compute.id)
      }
    }
    for reading in try tx.readingComputes() { try tx.deleteReadingCompute(reading.id) }
  }

  private func layEndpointsToSleep(_ survey: Survey, _ tx: CatalogTransaction) throws {
    let now = core.clock.now
    for branch in survey.branches {
      guard let project = try tx.project(branch.projectID), let current = try tx.branch(branch.id)
      else { continue }
      for var endpoint in try tx.endpoints(of: branch.id) {
        if endpoint.state != .idle { endpoint.suspendedAt = now }
        endpoint.state = .idle
        endpoint.pendingState = nil
        endpoint.updatedAt = now
        try tx.update(endpoint)
        guard endpoint.type == .readWrite else { continue }
        _ = try NewLine(core: core, project: project).insertCompute(
          on: current.lineID, of: branch.id, endpoint: endpoint.id, tx)
      }
    }
  }
}

/// Operations that the lost machine was at: what they still had to do is moot, done by the recovery, or
/// to be asked for again.
struct EndedOperations {
  let core: Core

  /// - Returns: how many were under way.
  func end(_ tx: CatalogTransaction) throws -> Int {
    let unfinished = try tx.unfinishedOperations()
    let steps = OperationSteps(core: core)
    var ended: Set<OperationID> = []
    var going: Set<OperationID> = []
    for var operation in unfinished {
      if Self.goesOn(operation) {
        operation.claimedBy = nil
        try tx.update(operation)
        going.insert(operation.id)
        continue
      }
      let status: API.OperationStatus
      if !ended.isDisjoint(with: operation.waitsFor) {
        status = .skipped
      } else {
        status = Self.status(of: OperationKind(rawValue: operation.kind))
      }
      let reason: String? =
        status == .finished
        ? nil : "the machine that was at it was lost; what it still had to do was not done"
      operation.end(status, reason, at: core.clock.now)
      try tx.update(operation)
      if status == .failed || status == .skipped { try steps.abandon(operation, tx) }
      if status != .finished { ended.insert(operation.id) }
    }
    // What abandoning asks for works on volumes that are gone.
    for var operation in try tx.unfinishedOperations() where !going.contains(operation.id) {
      operation.end(.skipped, "the machine whose volumes it works on was lost", at: core.clock.now)
      try tx.update(operation)
    }
    return unfinished.count - going.count
  }

  /// What works on servers elsewhere, which were not lost.
  private static func goesOn(_ operation: OperationRecord) -> Bool {
    Set([OperationKind.attachSource, .detachSource, .releaseFormer]).has(operation)
  }

  private static func status(of kind: OperationKind?) -> API.OperationStatus {
    switch kind {
    case .createProject, .createBranch, .suspendCompute, .applyEndpointSettings,
      .applyRolesAndDatabases, .deleteEndpoint, .deleteBranch, .deleteProject, .retireCompute,
      .discardCompute:
      .finished
    case .startCompute, .restartCompute: .cancelled
    default: .failed
    }
  }
}
