import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

struct SnapshotsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshots", abstract: "Keeps moments of branches, and restores them.",
    subcommands: [List.self, Create.self, Update.self, Delete.self, Restore.self],
    defaultSubcommand: List.self)

  fileprivate static let columns: [Column<API.Snapshot>] = [
    Column("ID") { $0.id }, Column("NAME") { $0.name },
    Column("BRANCH") { $0.sourceBranchID ?? "" },
    Column("LSN") { $0.lsn ?? "" }, Column("AT") { $0.timestamp.map { RFC3339.text($0) } ?? "" },
    Column("EXPIRES") { $0.expiresAt.map { RFC3339.text($0) } ?? "never" },
    Column("MADE BY") { $0.manual == false ? "schedule" : "hand" },
  ]

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists a project's snapshots.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "snapshots"])
      let answer = try await session.client.send(request, as: API.SnapshotsResponse.self)
      try session.show(answer, rows: answer.value.snapshots, columns)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keeps a branch's head, or a moment of it, under a name.")
    @OptionGroup var options: ClientOptions
    @Argument(
      help: "BRANCH, BRANCH@TIME or BRANCH@LSN; the default branch's head if absent.",
      completion: .branches) var branch: String?
    @Option(help: "The snapshot's name.") var name: String?
    @Option(help: "When it deletes itself.") var expiresAt: TimeArgument?

    func validate() throws { if let branch { try MomentReference.check(branch) } }

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let reference = try branch.map { try MomentReference($0) }
      let id = try await session.branch(reference?.branch, project: project).id
      var query: [(name: String, value: String)] = []
      switch reference?.moment {
      case .lsn(let lsn): query.append(("lsn", lsn))
      case .timestamp(let date): query.append(("timestamp", RFC3339.text(date)))
      case nil: break
      }
      if let name { query.append(("name", name)) }
      if let expiresAt { query.append(("expires_at", RFC3339.text(expiresAt.date))) }
      let request = APIRequest(
        .post, ["projects", project, "branches", id, "snapshot"], query: query)
      let answer = try await session.client.send(request, as: API.SnapshotOperations.self)
      try await session.wait(for: answer.value.operations)
      try session.show(answer, rows: [answer.value.snapshot], columns)
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Renames or dates a snapshot.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The snapshot's id.") var id: String
    @Option(help: "The new name.") var name: String?
    @Option(help: "When it deletes itself.") var expiresAt: TimeArgument?
    @Flag(name: .customLong("no-expiry"), help: "Keep it until it is deleted.")
    var removesExpiry = false

    func validate() throws {
      if name == nil, expiresAt == nil, !removesExpiry {
        throw ValidationError("Give --name, --expires-at or --no-expiry.")
      }
    }

    func run() async throws {
      let session = try options.session()
      let expiry: API.Patch<Date> =
        removesExpiry ? .null : expiresAt.map { .value($0.date) } ?? .absent
      let request = try session.request(
        .patch, ["projects", try await session.project(), "snapshots", id],
        body: API.SnapshotUpdateRequest(
          snapshot: API.SnapshotUpdate(name: name, expiresAt: expiry)))
      let answer = try await session.client.send(request, as: API.SnapshotResponse.self)
      try session.show(answer, rows: [answer.value.snapshot], columns)
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Deletes a snapshot.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The snapshot's id.") var id: String

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(
        .delete, ["projects", try await session.project(), "snapshots", id])
      let answer = try await session.client.send(request, as: API.OperationsResponse.self)
      try await session.wait(for: answer.value.operations)
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a branch of a snapshot, or puts it in another branch's place.",
      discussion: """
        Examples:
          exzo snapshots restore snap-… --name look
          exzo snapshots restore snap-… --target main --finalize
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "The snapshot's id.") var id: String
    @Option(help: "The new branch's name.") var name: String?
    @Option(
      help: "The branch that it replaces: name or id; the snapshot's own if absent.",
      completion: .branches) var target: String?
    @Flag(help: "Replace it at once, endpoints, children and schedule included.")
    var finalize = false
    @Flag(help: "Replace a protected branch, too.") var force = false

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      var targetID: String?
      if let target { targetID = try await session.branch(target, project: project).id }
      let request = try session.request(
        .post, ["projects", project, "snapshots", id, "restore"],
        body: API.SnapshotRestoreRequest(
          name: name, targetBranchID: targetID, finalizeRestore: finalize,
          force: force ? true : nil))
      let answer = try await session.client.send(request, as: API.RestoredSnapshot.self)
      try await session.wait(for: answer.value.operations)
      try session.show(answer, rows: [answer.value.branch], BranchesCommand.columns)
    }
  }
}
