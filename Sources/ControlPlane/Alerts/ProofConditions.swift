import APITypes
import Catalog

/// What drills and verifications found.
///
/// Only what comes to an end counts: one that is due or under way takes nothing back. What failed stays wrong until one
/// passes; between the two may lie some that could not be done, which are wrong beside it.
struct ProofConditions: Sendable {
  let core: Core

  func now() async throws -> [AlertCondition] {
    let (concluded, last, verified, newest) = try await core.catalog.read { tx in
      (
        try tx.lastDrills(concluded: true), try tx.lastDrills(),
        try tx.lastVerification(of: nil, concluded: true),
        try tx.lastVerification(of: nil, concluded: false)
      )
    }
    var found: [AlertCondition] = []
    for drill in concluded {
      if let condition = Self.found(drill) { found.append(condition) }
    }
    for drill in last {
      if let condition = Self.notMade(drill) { found.append(condition) }
    }
    if let verified, let condition = Self.found(verified) { found.append(condition) }
    if let newest, let condition = Self.notMade(newest) { found.append(condition) }
    return found
  }

  private static func found(_ drill: DrillRecord) -> AlertCondition? {
    if drill.status == API.ProofStatus.failed.rawValue {
      return AlertCondition(
        kind: .drillFailed, subject: drill.branchID.rawValue, projectID: drill.projectID,
        message: "the restore drill of branch '\(drill.branchID)' failed: \(drill.error ?? "")",
        hint: "'exzo verify' names damaged objects; 'exzo drills run' repeats the drill")
    }
    guard let took = drill.result.millisecondsToOpen,
      let objective = drill.result.objectiveMilliseconds, took > objective
    else { return nil }
    return AlertCondition(
      kind: .drillSlow, subject: drill.branchID.rawValue, projectID: drill.projectID,
      message: "a moment of branch '\(drill.branchID)' took \(took) ms to open, "
        + "\(objective) ms are the objective",
      hint: "look at the load of the machine and the speed of the object store")
  }

  private static func notMade(_ drill: DrillRecord) -> AlertCondition? {
    guard drill.status == API.ProofStatus.error.rawValue else { return nil }
    return AlertCondition(
      kind: .proofNotMade, subject: drill.branchID.rawValue, projectID: drill.projectID,
      message: "the restore drill of branch '\(drill.branchID)' could not be made: "
        + (drill.error ?? ""),
      hint: "it says nothing about the history; 'exzo drills run' tries again")
  }

  private static func found(_ verification: VerificationRecord) -> AlertCondition? {
    guard verification.status == API.ProofStatus.failed.rawValue else { return nil }
    return AlertCondition(
      kind: .verificationFailed, subject: "everything", projectID: nil,
      message:
        "the object store holds \(verification.result.problemsCount) things that are not "
        + "right: \(verification.result.problems.first ?? "")",
      hint: "'exzo verify --all --last' lists them; what a second store has can be copied back")
  }

  private static func notMade(_ verification: VerificationRecord) -> AlertCondition? {
    guard verification.status == API.ProofStatus.error.rawValue else { return nil }
    return AlertCondition(
      kind: .proofNotMade, subject: "everything", projectID: nil,
      message: "the verification of everything could not be made: \(verification.error ?? "")",
      hint: "it says nothing about what is stored; 'exzo verify --all' tries again")
  }
}
