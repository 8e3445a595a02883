import APITypes
import Catalog
import Foundation

/// What the operator does: accounts, plans, and everybody's audit log.
///
/// To everyone else these objects do not exist: the answer is "there is none", never "forbidden".
public struct AccountAdministration: Sendable {
  let core: Core

  private func requireAdmin(_ caller: AccountRecord, _ refusal: ControlPlaneError) throws {
    guard caller.isAdmin else { throw refusal }
  }

  private static let hidden = ControlPlaneError(
    .routeNotFound, "there is nothing at this path for this account")

  private static func noAccount(_ id: AccountID) -> ControlPlaneError {
    ControlPlaneError(.accountNotFound, "find account '\(id)': there is none")
  }

  private static func noPlan(_ name: String) -> ControlPlaneError {
    ControlPlaneError(.planNotFound, "find plan '\(name.prefix(64))': there is none")
  }

  // MARK: accounts

  /// Makes an account and its first key, which is shown once.
  public func create(
    _ request: API.NewAccount, by caller: AccountRecord
  ) async throws -> API.CreatedAccount {
    try requireAdmin(caller, Self.hidden)
    try Self.checkName("account.name", request.name)
    try EmailAddress.check("account.email", request.email)
    let service = AccountService(core: core)
    let plan = request.plan ?? AccountService.defaultPlan
    return try await core.catalog.write { tx in
      guard try tx.plan(plan) != nil else {
        throw ControlPlaneError.value(
          "account.plan", plan, allowed: "one of \(try Self.names(tx.plans()))")
      }
      let account = AccountRecord(
        id: AccountID(core.random.uuid()), plan: plan, name: request.name, email: request.email,
        isAdmin: false, createdAt: core.clock.now)
      do {
        try tx.insert(account)
      } catch let error as CatalogError where error.constraint == "accounts_email" {
        throw ControlPlaneError(
          .accountAlreadyExists, "create account '\(request.email)': there is one of that email",
          hint: "choose another email, or change that account")
      }
      return API.CreatedAccount(
        account: account.shown, apiKey: try service.insertKey("first", for: account, tx))
    }
  }

  public func accounts(
    by caller: AccountRecord, page: PageRequest
  ) async throws -> (accounts: [API.Account], next: PagePosition?) {
    try requireAdmin(caller, Self.hidden)
    let found = try await core.catalog.read { try $0.accounts(page) }
    return (found.elements.map(\.shown), found.next)
  }

  /// Any account for the operator; for others their own.
  public func account(_ id: AccountID, by caller: AccountRecord) async throws -> API.Account {
    guard caller.isAdmin || caller.id == id,
      let account = try await core.catalog.read({ try $0.account(id) })
    else { throw Self.noAccount(id) }
    return account.shown
  }

  /// Renames an account or puts it on another plan.
  /// - Throws: `.planTooSmall`, naming the projects that the plan has no room for.
  public func update(
    _ id: AccountID, _ change: API.AccountUpdate, by caller: AccountRecord
  ) async throws -> API.Account {
    try requireAdmin(caller, Self.noAccount(id))
    if let name = change.name { try Self.checkName("account.name", name) }
    return try await core.catalog.write { tx in
      guard var account = try tx.lockAccount(id) else { throw Self.noAccount(id) }
      if let name = change.name { account.name = name }
      if let name = change.plan, name != account.plan {
        guard let plan = try tx.plan(name) else {
          throw ControlPlaneError.value(
            "account.plan", name, allowed: "one of \(try Self.names(tx.plans()))")
        }
        try PlanFit(plan: plan).check(try tx.projects(of: id), tx, doing: "change account '\(id)'")
        account.plan = name
        try tx.setPlan(name, of: id)
      }
      try tx.update(account)
      return account.shown
    }
  }

  // MARK: plans

  /// All plans for the operator; for others their own.
  public func plans(by caller: AccountRecord) async throws -> [API.Plan] {
    try await core.catalog.read { tx in
      try tx.plans().filter { caller.isAdmin || $0.name == caller.plan }.map(\.shown)
    }
  }

  /// Makes a plan, or changes what accounts on it may use.
  /// - Throws: `.planTooSmall`, naming projects on it that would not fit any more.
  public func setPlan(
    _ name: String, _ limits: API.PlanLimits, by caller: AccountRecord
  ) async throws -> API.Plan {
    try requireAdmin(caller, Self.noPlan(name))
    let plan = try PlanRecord(name: name, limits, at: core.clock.now)
    return try await core.catalog.write { tx in
      guard let old = try tx.lockPlan(name) else { return try tx.insert(plan).shown }
      var plan = plan
      plan.createdAt = old.createdAt
      try PlanFit(plan: plan).check(
        try tx.projects(onPlan: name), tx, doing: "change plan '\(name)'")
      try tx.update(plan)
      return plan.shown
    }
  }

  // MARK: audit log

  /// Writes of one account, newest first. The operator may ask for any account's, or all.
  public func auditLog(
    of account: AccountID?, from: Date?, to: Date?, by caller: AccountRecord, page: PageRequest
  ) async throws -> (entries: [API.AuditEntry], next: PagePosition?) {
    guard caller.isAdmin || account == nil || account == caller.id else {
      throw Self.noAccount(account ?? caller.id)
    }
    let subject = account ?? (caller.isAdmin ? nil : caller.id)
    let found = try await core.catalog.read {
      try $0.auditLog(of: subject, from: from, to: to, page)
    }
    return (found.elements.map(\.shown), found.next)
  }

  private static func checkName(_ field: String, _ name: String) throws {
    try SettingsRules.name(field, name, maximum: 64)
  }

  private static func names(_ plans: [PlanRecord]) -> String {
    plans.map { "'\($0.name)'" }.joined(separator: ", ")
  }
}

/// Whether projects fit a plan.
struct PlanFit {
  let plan: PlanRecord

  /// - Throws: ``ControlPlaneError`` `.planTooSmall`, naming every project that does not.
  func check(
    _ projects: [ProjectRecord], _ tx: CatalogTransaction, doing action: String,
    hint: String = "change these projects first"
  ) throws {
    let long = projects.filter { $0.historyRetentionSeconds > plan.retentionSecondsMaximum }
    let large = try projects.filter { project in
      try tx.endpoints(of: project.id).contains {
        $0.computeUnitsMaximum > plan.computeUnitsMaximum
      }
    }
    guard !long.isEmpty || !large.isEmpty else { return }
    let reasons = [
      reason(long, "keep history for more than \(plan.retentionSecondsMaximum) s"),
      reason(large, "have computes of more than \(plan.computeUnitsMaximum) CU"),
    ].compactMap { $0 }
    throw ControlPlaneError(
      .planTooSmall,
      "\(action): plan '\(plan.name)' has no room for \(reasons.joined(separator: " and "))",
      hint: hint)
  }

  private func reason(_ projects: [ProjectRecord], _ what: String) -> String? {
    guard !projects.isEmpty else { return nil }
    let names = projects.map { "'\($0.name)' (\($0.id))" }.joined(separator: ", ")
    return "\(names), which \(what)"
  }
}

/// What passes for an email address: something, an at sign, something with a dot or a host.
enum EmailAddress {
  static func check(_ field: String, _ text: String) throws {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    let isPlain = text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value != 0x7f }
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, isPlain,
      text.utf8.count <= 254
    else { throw ControlPlaneError.value(field, text, allowed: "an email address") }
  }
}

extension AccountRecord {
  var shown: API.Account {
    API.Account(
      id: id.rawValue, name: name, email: email, plan: plan, isAdmin: isAdmin, createdAt: createdAt)
  }
}

extension AuditRecord {
  var shown: API.AuditEntry {
    API.AuditEntry(
      id: id, accountID: accountID.rawValue, keyID: keyID, requestID: requestID, method: method,
      path: path, status: status, address: address, createdAt: createdAt)
  }
}

extension PlanRecord {
  var shown: API.Plan {
    API.Plan(
      name: name, projectsLimit: projectsLimit, branchesLimit: branchesLimit,
      historyRetentionSecondsMaximum: retentionSecondsMaximum,
      computeUnitsMaximum: computeUnitsMaximum, computeSecondsLimit: computeSecondsLimit,
      transferBytesLimit: transferBytesLimit, writtenBytesLimit: writtenBytesLimit, prices: prices)
  }

  /// - Throws: ``ControlPlaneError`` naming the limit that makes no sense.
  init(name: String, _ limits: API.PlanLimits, at now: Date) throws {
    guard (1...64).contains(name.utf8.count),
      name.utf8.allSatisfy({
        (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d
      })
    else {
      throw ControlPlaneError.value(
        "plan_name", name, allowed: "1 to 64 of a-z, 0-9 and '-'")
    }
    let counts = [
      ("projects_limit", limits.projectsLimit), ("branches_limit", limits.branchesLimit),
      ("history_retention_seconds_maximum", limits.historyRetentionSecondsMaximum),
      ("compute_seconds_limit", limits.computeSecondsLimit ?? 0),
      ("transfer_bytes_limit", limits.transferBytesLimit ?? 0),
      ("written_bytes_limit", limits.writtenBytesLimit ?? 0),
    ]
    for (field, count) in counts where count < 0 {
      throw ControlPlaneError.value("plan.\(field)", count, allowed: "0 or more")
    }
    guard ComputeSize.allowed.contains(limits.computeUnitsMaximum) else {
      throw ControlPlaneError.value(
        "plan.compute_units_maximum", limits.computeUnitsMaximum,
        allowed: "\(ComputeSize.allowed.lowerBound) to \(ComputeSize.allowed.upperBound)")
    }
    for (metric, price) in limits.prices ?? [:] {
      guard BillingMetric(rawValue: metric) != nil else {
        throw ControlPlaneError.value(
          "plan.prices", metric,
          allowed: "by metric: \(BillingMetric.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      guard (0...1e9).contains(price) else {
        throw ControlPlaneError.value("plan.prices.\(metric)", price, allowed: "0 to 1e9")
      }
    }
    self.init(
      name: name, projectsLimit: limits.projectsLimit, branchesLimit: limits.branchesLimit,
      retentionSecondsMaximum: limits.historyRetentionSecondsMaximum,
      computeUnitsMaximum: limits.computeUnitsMaximum,
      computeSecondsLimit: limits.computeSecondsLimit,
      transferBytesLimit: limits.transferBytesLimit, writtenBytesLimit: limits.writtenBytesLimit,
      prices: limits.prices ?? [:], createdAt: now)
  }
}
