import APITypes
import Catalog
import Foundation

/// Support tickets, and the bundle that tells the operator what an account has and what failed.
public struct SupportService: Sendable {
  let core: Core

  private static let open = "open"

  public func list(by account: AccountRecord) async throws -> [API.SupportTicket] {
    try await core.catalog.read { tx in
      try tx.supportTickets(of: account.isAdmin ? nil : account.id)
    }.map(Self.shown)
  }

  /// - Throws: ``ControlPlaneError`` `.planTooSmall` where the account's plan has no support.
  public func create(
    _ request: API.NewSupportTicket, by account: AccountRecord
  ) async throws -> API.SupportTicket {
    guard account.isAdmin || account.plan != AccountService.defaultPlan else {
      throw ControlPlaneError(
        .planTooSmall, "open a support ticket: the plan '\(account.plan)' has none",
        hint: "ask the operator for another plan, or the community")
    }
    try Self.check("ticket.subject", request.subject, 200)
    try Self.check("ticket.text", request.text, 20_000)
    let now = core.clock.now
    var bundle: String?
    if request.includesBundle == true {
      bundle = String(
        decoding: try APICoding.encode(try await self.bundle(of: account)), as: UTF8.self)
    }
    let message = API.SupportMessage(
      author: account.name, isOperator: account.isAdmin, text: request.text, createdAt: now)
    let row = SupportTicketRecord(
      id: core.random.uuid(), accountID: account.id, plan: account.plan, subject: request.subject,
      state: Self.open, messages: [message], bundle: bundle, createdAt: now, updatedAt: now)
    return Self.shown(try await core.catalog.write { try $0.insert(row) })
  }

  /// Adds a text; the operator's makes the ticket `answered`, the account's opens it again.
  public func answer(
    _ id: String, _ request: API.NewSupportMessage, by account: AccountRecord
  ) async throws -> API.SupportTicket {
    if request.closes != true { try Self.check("message.text", request.text ?? "", 20_000) }
    let now = core.clock.now
    return try await core.catalog.write { tx in
      guard var row = try tx.supportTicket(id), account.isAdmin || row.accountID == account.id
      else {
        throw ControlPlaneError(.ticketNotFound, "answer ticket '\(id)': there is none")
      }
      if let text = request.text, !text.isEmpty {
        row.messages.append(
          API.SupportMessage(
            author: account.name, isOperator: account.isAdmin, text: text, createdAt: now))
      }
      row.state = request.closes == true ? "closed" : account.isAdmin ? "answered" : Self.open
      row.updatedAt = now
      try tx.update(row)
      return Self.shown(row)
    }
  }

  private static func check(_ field: String, _ text: String, _ maximum: Int) throws {
    guard (1...maximum).contains(text.unicodeScalars.count), !text.unicodeScalars.contains("\0")
    else { throw ControlPlaneError.value(field, text, allowed: "1 to \(maximum) characters") }
  }

  private static func shown(_ row: SupportTicketRecord) -> API.SupportTicket {
    API.SupportTicket(
      id: row.id, accountID: row.accountID.rawValue, subject: row.subject, state: row.state,
      hasBundle: row.bundle != nil, createdAt: row.createdAt, updatedAt: row.updatedAt,
      messages: row.messages)
  }

  /// What the operator may see: ids, states, sizes and settings, each named here. Names that people
  /// chose, connection strings, SQL and everything else stay out.
  public func bundle(of account: AccountRecord) async throws -> API.SupportBundle {
    let now = core.clock.now
    let settings = core.settings
    let projects = try await core.catalog.read { tx -> [API.SupportBundle.Project] in
      let page = PageRequest(limit: 100, after: nil, order: .descending)
      return try tx.projects(of: account.id, search: nil, page).elements.map {
        project in
        let branches = try tx.branches(of: project.id)
        let operations = try tx.operations(of: project.id, PageRequest(limit: 50)).elements
        return API.SupportBundle.Project(
          id: project.id.rawValue, pgVersion: project.pgVersion,
          historyRetentionSeconds: project.historyRetentionSeconds, branches: branches.count,
          endpoints: try branches.flatMap { try tx.endpoints(of: $0.id) }.map {
            API.SupportBundle.Endpoint(
              id: $0.id.rawValue, state: $0.state.rawValue,
              suspendTimeoutSeconds: $0.suspendTimeoutSeconds)
          },
          failedOperations: operations.filter { $0.status == .failed }.map {
            API.SupportBundle.FailedOperation(
              id: $0.id.rawValue, kind: $0.kind, failuresCount: $0.failuresCount,
              createdAt: $0.createdAt)
          })
      }
    }
    let machine = await settings.machineReport()
    return API.SupportBundle(
      madeAt: now, accountID: account.id.rawValue, plan: account.plan,
      server: API.SupportBundle.Server(
        hasDomain: settings.domain != nil, hasPooler: settings.hasPooler,
        requestsPerMinute: settings.requestsPerMinute, postgresMajors: settings.majors,
        computesRunning: await core.fleet.running().count, system: Self.system),
      machine: account.isAdmin ? machine : machine.withoutPlaces, projects: projects)
  }

  private static var system: String { ProcessInfo.processInfo.operatingSystemVersionString }
}
