import APIClient
import APITypes
import ArgumentParser
import CommandLineTool
import Foundation

/// `exzo attach`: a server that lives elsewhere gets history here.
struct AttachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach", abstract: "Follows a PostgreSQL server that lives elsewhere.",
    discussion: """
      Copies the server while it works, then takes all that it writes, by a replication slot. Any
      moment since can be branched, dumped and drilled; the server itself is not changed, and
      'exzo detach' drops the slot. Its role must be allowed to replicate. Examples:
        exzo attach 'postgresql://replicator@db.example.com/app?sslmode=require' --name app
        exzo attach status
        exzo attach update 'postgresql://replicator@db2.example.com/app?sslmode=require'
        exzo branches create --name look --parent main@2026-11-23T10:00:00Z
      The password: in the URI, or in PGPASSWORD. The server connects to the source, not this
      program; addresses of its own machine are closed unless serve has '--attach-networks'.
      """, subcommands: [Create.self, Update.self, Status.self], defaultSubcommand: Create.self)

  static let columns: [Column<API.Attachment>] = [
    Column("PROJECT") { $0.projectID }, Column("SERVER") { "\($0.host):\($0.port)" },
    Column("STATUS") { status($0) }, Column("STREAMING") { $0.streaming.map { "\($0)" } ?? "" },
    Column("SERVER AT") { $0.sourceLSN ?? "" }, Column("STORED TO") { $0.storedLSN ?? "" },
    Column("LAG") { $0.lagSeconds.map { String(format: "%.1f s", $0) } ?? "" },
    Column("AWAY SINCE") { $0.awaySince.map { RFC3339.text($0) } ?? "" },
    Column("SLOT") { $0.slot }, Column("ERROR") { $0.error ?? "" },
    Column("NOTES") { $0.notes?.joined(separator: "; ") ?? "" },
  ]

  private static func status(_ attachment: API.Attachment) -> String {
    guard let copied = attachment.copiedBytes, let total = attachment.totalBytes, total > 0 else {
      return attachment.status.rawValue
    }
    return "\(attachment.status.rawValue) \(copied >> 20)/\(total >> 20) MiB"
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "server", abstract: "Attaches a server (the default).")
    @OptionGroup var options: ClientOptions
    @Argument(help: "postgresql://user@host:port/database?sslmode=…") var source: String
    @OptionGroup var authorities: AuthorityOptions
    @Option(help: "The project's name.") var name: String?
    @Option(help: "How far back restore is promised, in seconds.") var historyRetention: Int?

    func run() async throws {
      let session = try options.session()
      let body = API.AttachRequest(
        source: try authorities.source(source),
        project: API.AttachedProject(name: name, historyRetentionSeconds: historyRetention))
      let answer = try await session.client.send(
        try session.request(.post, ["projects", "attach"], body: body),
        as: API.AttachedResponse.self)
      try session.show(answer, rows: [answer.value.attachment], columns)
      try await session.wait(for: answer.value.operations)
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Tells where an attached server is from now on, and who connects to it.",
      discussion: """
        For a password that was changed, a server that has moved, another role. It must be the same
        server; following goes on by itself. A password that is not given stays the one that is known.
        After a failover, or where WAL is missing, --copy-anew begins with a new copy.
        """)
    @OptionGroup var options: ClientOptions
    @Argument(help: "postgresql://user@host:port/database?sslmode=…; as it was if absent.")
    var source: String?
    @OptionGroup var authorities: AuthorityOptions
    @Flag(
      help:
        "Copy the server anew, where following cannot go on: the branch's history stays as a branch beside it."
    )
    var copyAnew = false

    func validate() throws {
      if source == nil, !copyAnew {
        throw ValidationError("Give the source, --copy-anew, or both.")
      }
    }

    /// How long following may take to go on; seconds.
    private static let patience = 30

    func run() async throws {
      let session = try options.session()
      let path = ["projects", try await session.project(), "attachment"]
      let answer = try await session.client.send(
        try session.request(
          .patch, path,
          body: API.AttachmentUpdateRequest(
            source: try source.map { try authorities.source($0) }, copyAnew: copyAnew ? true : nil)),
        as: API.AttachmentOperations.self)
      try await session.wait(for: answer.value.operations)
      var shown = try await session.client.send(
        APIRequest(.get, path), as: API.AttachmentResponse.self)
      for _ in 0..<Self.patience * 5
      where shown.value.attachment.status == .following && shown.value.attachment.streaming != true
      {
        try await Task.sleep(for: .milliseconds(200))
        shown = try await session.client.send(
          APIRequest(.get, path), as: API.AttachmentResponse.self)
      }
      try session.show(shown, rows: [shown.value.attachment], columns)
    }
  }

  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows how far a project is with following its server.")
    @OptionGroup var options: ClientOptions

    func run() async throws {
      let session = try options.session()
      let request = APIRequest(.get, ["projects", try await session.project(), "attachment"])
      let answer = try await session.client.send(request, as: API.AttachmentResponse.self)
      try session.show(answer, rows: [answer.value.attachment], columns)
    }
  }
}

/// What the certificate of a server that lives elsewhere is checked against.
struct AuthorityOptions: ParsableArguments {
  @Option(
    help:
      "PEM file of the authorities that its certificate is checked against (sslmode=verify-full).",
    completion: .file())
  var rootCertificate: String?

  func source(_ source: String) throws -> API.AttachSource {
    API.AttachSource(
      connectionString: withPassword(source),
      rootCertificate: try rootCertificate.map { try String(contentsOfFile: $0, encoding: .utf8) })
  }

  /// With the password of the environment, where the URI has none.
  private func withPassword(_ text: String) -> String {
    guard let password = ProcessInfo.processInfo.environment["PGPASSWORD"],
      var parts = URLComponents(string: text), parts.user != nil, parts.password == nil
    else { return text }
    parts.password = password
    return parts.string ?? text
  }
}

/// `exzo detach`: ends the following.
struct DetachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach", abstract: "Ends following a server, which is then as it was.",
    discussion: "The project keeps its history and its branches.")
  @OptionGroup var options: ClientOptions
  @Flag(help: "End although the server does not answer; its slot stays there.") var keepSlot = false
  @Flag(
    help: "End although the object store has not taken the last WAL, which is lost with that.")
  var giveUpWal = false

  func run() async throws {
    let session = try options.session()
    let path = ["projects", try await session.project(), "detach"]
    let answer = try await session.client.send(
      try session.request(
        .post, path,
        body: API.DetachRequest(keepSlot: keepSlot, giveUpWAL: giveUpWal ? true : nil)),
      as: API.AttachmentOperations.self)
    try await session.wait(for: answer.value.operations)
    let shown = try await session.client.send(
      APIRequest(.get, Array(path.dropLast()) + ["attachment"]), as: API.AttachmentResponse.self)
    try session.show(shown, rows: [shown.value.attachment], AttachCommand.columns)
  }
}
