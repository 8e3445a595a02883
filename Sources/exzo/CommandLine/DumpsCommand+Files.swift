import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Dumps
import Foundation

extension DumpsCommand {
  struct Download: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Downloads a dump; one that was cut off goes on where it ended.")
    @OptionGroup var options: ClientOptions
    @Argument(help: "The dump's id.") var id: String
    @Option(help: "The file to write; '-' is standard output.") var file: String?
    @Flag(help: "The roles of the dump's cluster instead, as SQL without passwords.")
    var globals = false

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let path = ["projects", project, "dumps", id]
      let dump = try await session.client.send(
        APIRequest(.get, path), as: API.DumpResponse.self
      ).value.dump
      let target = file ?? (globals ? "\(dump.id)-globals.sql" : dump.fileName)
      // Of this dump only: another one's beginning under the same name is no beginning of it.
      let part = "\(target).\(dump.id).part"
      let isOutput = target == "-"
      var offset = isOutput || globals ? 0 : Self.size(part)
      if let size = dump.sizeBytes, offset > size { offset = 0 }
      if !isOutput, offset == 0 {
        guard FileManager.default.createFile(atPath: part, contents: nil) else {
          throw CommandError(
            "write '\(part)': it cannot be made", hint: "Name another --file.")
        }
      }
      let handle =
        isOutput
        ? FileHandle.standardOutput
        : try FileHandle(forWritingTo: URL(fileURLWithPath: part))
      if !isOutput { try handle.seekToEnd() }
      try await session.client.download(
        APIRequest(.get, path + [globals ? "globals" : "download"]), from: offset
      ) { try handle.write(contentsOf: $0) }
      guard !isOutput else { return }
      try handle.close()
      if !globals { try Self.check(part, of: dump) }
      if FileManager.default.fileExists(atPath: target) {
        try FileManager.default.removeItem(atPath: target)
      }
      try FileManager.default.moveItem(atPath: part, toPath: target)
      printError("\(target)" + (globals ? "" : ": SHA-256 \(dump.sha256 ?? "")"))
    }

    /// What came must be what the dump is.
    private static func check(_ part: String, of dump: API.Dump) throws {
      if let size = dump.sizeBytes, Self.size(part) != size {
        throw CommandError(
          "download '\(dump.id)': \(Self.size(part)) of \(size) bytes came",
          hint: "Run it again: it goes on where it ended.")
      }
      if let sum = dump.sha256 {
        let found = try DumpSum.hexadecimal(ofFile: part)
        guard found == sum else {
          try FileManager.default.removeItem(atPath: part)
          throw CommandError(
            "download '\(dump.id)': what came has SHA-256 \(found), the dump has \(sum)",
            hint:
              "Run it again: it begins anew. Where it ends so again, the stored dump is not what was made: "
              + "make another, and let 'exzo verify --all' look at the rest.")
        }
      }
    }

    private static func size(_ path: String) -> Int {
      // A file that is not there has no bytes.
      (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Restores a dump, or some tables of it, into a branch.",
      discussion: """
        The database is made where it is not there; one that is there must be empty, unless tables
        are named. Examples:
          exzo dumps restore dump-… --branch dev --database app
          exzo dumps restore dump-… --branch main --database app --table public.orders
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "The dump's id.") var id: String
    @Option(help: "The branch: name or id; the dump's own if absent.", completion: .branches)
    var branch: String?
    @Option(help: "The database; the dump's own name if absent.") var database: String?
    @Option(help: "A table, schema.table; may be repeated. Everything if absent.")
    var table: [String] = []

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let dump = try await session.client.send(
        APIRequest(.get, ["projects", project, "dumps", id]), as: API.DumpResponse.self
      ).value.dump
      let target = try await session.branch(branch ?? dump.branchID, project: project).id
      let request = try session.request(
        .post, ["projects", project, "dumps", id, "restore"],
        body: API.DumpRestoreRequest(
          branchID: target, database: database ?? dump.database,
          tables: table.isEmpty ? nil : table))
      try await RecoverCommand.send(request, session, project: project)
    }
  }
}

/// `exzo recover`: some of the past back, beside what is there.
struct RecoverCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover",
    abstract: "Brings a table, some rows or a database back; the branch is not rolled back.",
    subcommands: [Table.self, Database.self])

  /// Options that say which moment.
  struct Moment: ParsableArguments {
    @Option(help: "The branch: name or id; the default branch if absent.", completion: .branches)
    var branch: String?
    @Option(help: "The moment: a time like 2026-11-23T10:00:00Z, or an LSN.") var at: String

    func moment() throws -> MomentReference.Moment {
      guard let moment = try MomentReference("x@\(at)").moment else {
        throw CommandError("'\(at)' is no moment")
      }
      return moment
    }
  }

  /// Sends a request, waits, and says what the operations noted.
  static func send(
    _ request: APIRequest, _ session: ClientSession, project: String
  ) async throws {
    let answer = try await session.client.send(request, as: API.OperationsResponse.self)
    try await session.wait(for: answer.value.operations)
    var notes: [String] = []
    for operation in answer.value.operations {
      let end = try await session.client.send(
        APIRequest(.get, ["projects", project, "operations", operation.id]),
        as: API.OperationResponse.self)
      notes += end.value.operation.notes ?? []
    }
    try session.show(answer, rows: notes, [Column("NOTES") { $0 }])
  }

  struct Table: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Brings a table back from a past moment, under another name or its own.",
      discussion: """
        Indexes, sequences, rights and owner come with it; foreign keys and triggers that do not
        hold any more are named. With --where and without --as, rows that are missing go back into
        the table that is there. Examples:
          exzo recover table public.orders --branch main --at 2026-11-23T10:00:00Z --as orders_restored
          exzo recover table orders --at 0/1A2B3C --where "customer_id = 7"
        """)
    @OptionGroup var options: ClientOptions
    @OptionGroup var moment: Moment
    @Argument(help: "schema.table; 'public' without a schema.") var table: String
    @Option(help: "The database; the branch's only one if absent.") var database: String?
    @Option(name: .customLong("as"), help: "The new table's name, in the same schema.")
    var newName: String?
    @Option(name: .customLong("where"), help: "A condition in SQL that rows must meet.")
    var condition: String?

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let branch = try await session.branch(moment.branch, project: project).id
      var body = API.RecoverTableRequest(
        database: try await session.database(database, branch: branch, project: project),
        table: table, newName: newName, condition: condition)
      switch try moment.moment() {
      case .lsn(let lsn): body.lsn = lsn
      case .timestamp(let date): body.timestamp = date
      }
      try await RecoverCommand.send(
        try session.request(
          .post, ["projects", project, "branches", branch, "recover_table"], body: body),
        session, project: project)
    }
  }

  struct Database: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Brings a database back from a past moment under a name that is free.")
    @OptionGroup var options: ClientOptions
    @OptionGroup var moment: Moment
    @Argument(help: "The database of then.") var database: String
    @Option(name: .customLong("as"), help: "Its name now; the same if absent.")
    var newName: String?

    func run() async throws {
      let session = try options.session()
      let project = try await session.project()
      let branch = try await session.branch(moment.branch, project: project).id
      var body = API.RecoverDatabaseRequest(database: database, newName: newName)
      switch try moment.moment() {
      case .lsn(let lsn): body.lsn = lsn
      case .timestamp(let date): body.timestamp = date
      }
      try await RecoverCommand.send(
        try session.request(
          .post, ["projects", project, "branches", branch, "recover_database"], body: body),
        session, project: project)
    }
  }
}

extension ClientSession {
  /// The database named, else the branch's only one.
  fileprivate func database(
    _ name: String?, branch: String, project: String
  ) async throws -> String {
    if let name { return name }
    let request = APIRequest(.get, ["projects", project, "branches", branch, "databases"])
    let found = try await client.send(request, as: API.DatabasesResponse.self).value.databases
    guard found.count == 1, let only = found.first else {
      throw CommandError(
        "the branch has \(found.count) databases: \(found.map(\.name).joined(separator: ", "))",
        hint: "Name one with --database.")
    }
    return only.name
  }
}
