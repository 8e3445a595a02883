import APITypes
import Catalog
import Foundation
import PostgresClient
import PostgresFormat

/// SQL on behalf of a role of a branch, through the proxy like any client: the role's own rights, its
/// password of today, wake on connect, every byte counted.
///
/// The project's `allowed_ips` hold for whoever asks: the address is that of the API's client, not of
/// this process. See docs/decisions/2026-11-26-allowed-addresses-and-the-console.md.
public struct QueryService: Sendable {
  let core: Core

  static let rowLimits = 1...10_000
  private static let standardRows = 1000
  /// Of one result; bytes.
  private static let resultSize = 4 << 20
  private static let longestSQL = 500_000
  /// A statement ends after this; seconds.
  private static let patience = 60

  public func run(
    _ request: API.QueryRequest, branch: BranchID, project: ProjectID, account: AccountID,
    from address: String
  ) async throws -> API.QueryResponse {
    let rows = request.rowLimit ?? Self.standardRows
    guard Self.rowLimits.contains(rows) else {
      throw ControlPlaneError.value("row_limit", rows, allowed: "1 to 10000")
    }
    guard (1...Self.longestSQL).contains(request.query.utf8.count) else {
      throw ControlPlaneError(
        .badValue, "'query' has \(request.query.utf8.count) bytes, must have 1 to 500000")
    }
    let parameters = try await parameters(request, branch, project, account, from: address)
    let started = ContinuousClock.now
    let answer = try await on(parameters) { connection -> Answer in
      var notices: [String] = []
      connection.onNotice = { notice in
        if notices.count < 100 { notices.append("\(notice.severity): \(notice.message)") }
      }
      let (results, error) = try connection.executeBounded(
        request.query, rows: rows, bytes: Self.resultSize)
      return Answer(results: results, error: error, notices: notices)
    }
    let duration = (ContinuousClock.now - started) / .milliseconds(1)
    return API.QueryResponse(
      results: answer.results.map(Self.shown), notices: answer.notices,
      error: answer.error.map(Self.shown), durationMilliseconds: Int(duration))
  }

  struct Answer: Sendable {
    var results: [BoundedResult]
    var error: PostgresError?
    var notices: [String]
  }

  private static func shown(_ result: BoundedResult) -> API.QueryResult {
    API.QueryResult(
      columns: result.columns.map { API.QueryColumn(name: $0.name, typeOID: Int($0.type)) },
      rows: result.rows.map { $0.map { API.Nullable($0) } }, commandTag: result.commandTag,
      isTruncated: result.isTruncated)
  }

  private static func shown(_ error: PostgresError) -> API.QueryError {
    API.QueryError(
      message: error.message, sqlState: error.sqlState, detail: error.detail, hint: error.hint,
      position: error.position)
  }

  /// How to connect as the role.
  /// - Throws: ``ControlPlaneError`` where role, password or endpoint is not there.
  func parameters(
    _ request: API.QueryRequest, _ branch: BranchID, _ project: ProjectID, _ account: AccountID,
    from address: String
  ) async throws -> ConnectionParameters {
    let moment = try MomentRequest(
      lsn: request.lsn, time: request.timestamp, names: ("lsn", "timestamp"))
    let (role, endpoint) = try await core.catalog.read { tx -> (RoleRecord, EndpointRecord?) in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      return (
        try RoleService.find(request.roleName, branch, tx),
        try tx.endpoints(of: branch.id).first { $0.type == .readWrite }
      )
    }
    guard let password = RoleService.password(of: role, core) else {
      throw ControlPlaneError(
        .passwordNotStored, "connect as role '\(role.name)': its password is not stored",
        hint: "reset the password to get a new one")
    }
    var options: String
    switch moment {
    case .head:
      guard let endpoint else {
        throw ControlPlaneError(
          .endpointNotFound, "run SQL on branch '\(branch)': it has no endpoint",
          hint: "make one, or choose a moment")
      }
      options = "endpoint=\(endpoint.id)"
    case .lsn(let lsn): options = "endpoint=\(branch) exzo_lsn:\(lsn)"
    case .time(let time): options = "endpoint=\(branch) exzo_timestamp:\(RFC3339.text(time))"
    }
    options += " exzo_client:\(core.settings.callerSecret)/\(address)"
    options += " -c statement_timeout=\(Self.patience)s"
    if request.readOnly == true { options += " -c default_transaction_read_only=on" }
    let host = core.settings.postgresHost
    return ConnectionParameters(
      host: ["0.0.0.0", "::"].contains(host) ? "127.0.0.1" : host,
      port: core.settings.postgresPort, user: role.name, password: password,
      database: request.databaseName, connectTimeout: 40, applicationName: "exzo-console",
      sslMode: "prefer", options: options)
  }

  /// Runs `body` on a connection of its own.
  /// - Throws: ``ControlPlaneError`` `.computeFailed` with what the server said to the connection.
  func on<Value: Sendable>(
    _ parameters: ConnectionParameters,
    _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      let thread = Thread {
        continuation.resume(
          with: Result {
            do {
              let connection = try PostgresConnection(parameters)
              defer { connection.close() }
              return try body(connection)
            } catch let error as PostgresError where error.isConnectionLoss {
              throw Self.refusal(error, parameters)
            }
          })
      }
      thread.name = "query"
      thread.start()
    }
  }

  private static func refusal(
    _ error: PostgresError, _ parameters: ConnectionParameters
  ) -> ControlPlaneError {
    // libpq gives no SQLSTATE of what ends a connection before it is there.
    let code: ControlPlaneError.Code =
      if error.message.contains("does not exist") {
        .databaseNotFound
      } else if error.message.contains("are not allowed") {
        .addressNotAllowed
      } else {
        .queryNotRun
      }
    return ControlPlaneError(
      code,
      "connect to database '\(parameters.database)' as '\(parameters.user)': \(error.message)",
      hint: error.hint)
  }
}
