import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct VerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Checks all that the object store holds: objects, WAL, promised moments, dumps.",
    discussion: "Ends with status 1 where something is not right.")
  @OptionGroup var options: ClientOptions
  @Flag(help: "Everything, not one project (operator).") var all = false
  @Flag(help: "Show the last results instead of checking again.") var last = false

  private static let columns: [Column<API.Verification>] = [
    Column("ID") { $0.id }, Column("OF") { $0.projectID ?? "everything" },
    Column("STATUS") { $0.status.rawValue }, Column("LINES") { "\($0.lines)" },
    Column("OBJECTS") { "\($0.objects)" }, Column("BYTES") { "\($0.bytes)" },
    Column("MOMENTS") { "\($0.moments)" }, Column("PROBLEMS") { "\($0.problemsCount)" },
    Column("AT") { RFC3339.text($0.finishedAt ?? $0.createdAt) },
  ]

  func run() async throws {
    let session = try options.session()
    var owner: [String] = []
    if !all { owner = ["projects", try await session.project()] }
    if last {
      let answer = try await session.client.send(
        APIRequest(.get, owner + ["verifications"]), as: API.VerificationListResponse.self)
      try session.show(answer, rows: answer.value.verifications, Self.columns)
      return try conclude(answer.value.verifications.first)
    }
    var answer = try await session.client.send(
      APIRequest(.post, owner + ["verifications"]), as: API.VerificationResponse.self)
    let id = answer.value.verification.id
    while !options.skipsWaiting,
      [.scheduled, .running].contains(answer.value.verification.status)
    {
      try await Task.sleep(for: .milliseconds(300))
      answer = try await session.client.send(
        APIRequest(.get, owner + ["verifications", id]), as: API.VerificationResponse.self)
    }
    try session.show(answer, rows: [answer.value.verification], Self.columns)
    try conclude(answer.value.verification)
  }

  private func conclude(_ verification: API.Verification?) throws {
    guard let verification else { return }
    for problem in verification.problems { printError("problem: \(problem)") }
    if let error = verification.error { printError("not done: \(error)") }
    if [.failed, .error].contains(verification.status) { throw ExitCode(ExitStatus.failure) }
  }
}

struct DrillsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drills", abstract: "Opens random moments of branches, to prove that they can be.",
    subcommands: [List.self, Run.self], defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Drill>] = [
    Column("ID") { $0.id }, Column("BRANCH") { $0.branchID },
    Column("STATUS") { $0.status.rawValue },
    Column("MOMENT") { $0.timestamp.map { RFC3339.text($0) } ?? $0.lsn ?? "" },
    Column("OPENED IN") { $0.millisecondsToOpen.map { "\($0) ms" } ?? "" },
    Column("TABLES") { $0.tables.map { "\($0)" } ?? "" },
    Column("ROWS") { $0.rows.map { "\($0)" } ?? "" },
    Column("PG_AMCHECK") { $0.amcheck ?? "" },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a project's drills.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let answer = try await session.client.send(
        APIRequest(.get, ["projects", try await session.project(), "drills"]),
        as: API.DrillListResponse.self)
      try session.show(answer, rows: answer.value.drills, columns)
    }
  }

  struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a drill of a branch now; ends with status 1 where it does not pass.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The branch; the default one if absent.") var branch: String?

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let id = try await session.branch(branch, project: project).id
      var answer = try await session.client.send(
        APIRequest(.post, ["projects", project, "branches", id, "drills"]),
        as: API.DrillResponse.self)
      let drill = answer.value.drill.id
      while !options.skipsWaiting, [.scheduled, .running].contains(answer.value.drill.status) {
        try await Task.sleep(for: .milliseconds(300))
        answer = try await session.client.send(
          APIRequest(.get, ["projects", project, "drills", drill]), as: API.DrillResponse.self)
      }
      try session.show(answer, rows: [answer.value.drill], columns)
      if let error = answer.value.drill.error { printError("not passed: \(error)") }
      if [.failed, .error].contains(answer.value.drill.status) {
        throw ExitCode(ExitStatus.failure)
      }
    }
  }
}

struct AlertsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "alerts", abstract: "Lists alerts, open ones first (operator).")
  @OptionGroup var options: ClientOptions

  func run() async throws {
    let session = try options.session()
    let answer = try await session.client.send(
      APIRequest(.get, ["alerts"]), as: API.AlertListResponse.self)
    try session.show(
      answer, rows: answer.value.alerts,
      [
        Column("KIND") { $0.kind.rawValue }, Column("SUBJECT") { $0.subject },
        Column("SINCE") { RFC3339.text($0.createdAt) },
        Column("OVER") { $0.resolvedAt.map { RFC3339.text($0) } ?? "no" },
        Column("TOLD") { alert in
          let told = alert.notices.count { $0.deliveredAt != nil }
          return "\(told) of \(alert.notices.count)"
        },
        Column("MESSAGE") { $0.message },
      ])
  }
}
