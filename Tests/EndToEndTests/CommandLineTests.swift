import Foundation
import TestSupport
import Testing

/// Verbs of the command line that no other test needs, and how it finds its server.
@Suite(.serialized, .heavy) struct CommandLineTests {
  /// What bash offers for a line, by the script that `exzo completion bash` prints.
  private func offers(_ line: String, _ platform: Platform) throws -> [String] {
    let words = line.split(separator: " ", omittingEmptySubsequences: false)
    let script = """
      PATH="$1:$PATH"; source <(exzo completion bash)
      COMP_LINE='\(line)'; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
      COMP_WORDS=(\(words.map { "'\($0)'" }.joined(separator: " "))); COMP_CWORD=\(words.count - 1)
      _exzo exzo "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "${COMPREPLY[@]}"
      """
    let result = try run(
      ["bash", "-c", script, "bash", (Platform.program as NSString).deletingLastPathComponent],
      environment: [
        "HOME": platform.directory, "EXZO_API_HOST": platform.url(""),
        "EXZO_API_KEY": try platform.key, "PATH": "/usr/bin:/bin",
      ], allowFailure: true)
    #expect(result.status == 0, "\(line): \(result.errorOutput)")
    return result.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
  }

  @Test func everyShellCompletesVerbsProjectsAndBranches() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"words"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      for name in ["feature-x", "two words"] {
        let made = try platform.call(
          "POST", "/projects/\(project)/branches", #"{"branch":{"name":"\#(name)"}}"#)
        #expect(made.status == 201, "\(made.text)")
      }
      #expect(try offers("exzo pro", platform).contains("projects"))
      #expect(try offers("exzo branches get fea", platform) == ["feature-x"])
      #expect(try offers("exzo branches get ", platform).contains { $0.hasPrefix("br-") })
      #expect(try offers("exzo branches list --project-id ", platform) == [project])
      for shell in ["zsh", "fish"] {
        let script = try platform.exzo(["completion", shell]).output
        #expect(script.contains("---completion") && script.contains("branches"))
        let programs = ["/usr/bin/\(shell)", "/bin/\(shell)"]
        guard
          let program = programs.first(where: { FileManager.default.isExecutableFile(atPath: $0) })
        else { continue }
        let read = try run([program, "-n", "/dev/stdin"], input: script, allowFailure: true)
        #expect(read.status == 0, "\(read.errorOutput)")
      }
      try platform.exzo(["completion", "tcsh"], status: 2)
      // A server that is away offers nothing, and says nothing into the line.
      try platform.shutDown()
      #expect(try offers("exzo branches get fea", platform) == [])
      try await platform.start()
    }
  }

  @Test func projectsAreSharedLimitedAndBroughtBack() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"ours"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let guest = try platform.call(
        "POST", "/accounts",
        #"{"account":{"name":"guest","email":"guest@example.com","plan":"pro"}}"#)
      let key = guest.string("api_key.key")
      #expect(!key.isEmpty, "\(guest.text)")
      #expect(
        !(try platform.exzo(["projects", "list", "--shared"], key: key).output.contains(project)))
      try platform.exzo(["projects", "permissions", "grant", "guest@example.com"])
      #expect(try platform.exzo(["projects", "permissions"]).output.contains("guest@example.com"))
      #expect(
        try platform.exzo(["projects", "list", "--shared"], key: key).output.contains(project))
      try platform.exzo(["projects", "permissions", "revoke", "guest@example.com"])
      try platform.exzo(["projects", "get", project], status: 1, key: key)

      let set = try platform.exzo(["projects", "quota", "set", "--data-transfer", "1000000"]).output
      #expect(set.contains("1000000 bytes"), "\(set)")
      let kept = try platform.exzo(["projects", "quota", "set", "--active-time", "60"]).output
      #expect(kept.contains("1000000 bytes") && kept.contains("60 s"), "\(kept)")
      // What was used stands there as well, and grows.
      let shown = try platform.exzo(["projects", "quota"]).output
      #expect(shown.contains("1000000 bytes") && shown.contains("60 s"), "\(shown)")
      try platform.exzo(["projects", "quota", "set"], status: 2)
      try platform.exzo(["projects", "update", "--allowed-ips", "9.9.9.9,10.0.0.0/8"])
      let uri = created.string("connection_uris.0.connection_uri")
      #expect(try platform.psql(uri, "SELECT 1", allowFailure: true).status != 0)
      try platform.exzo(["projects", "update", "--allowed-ips", ""])
      #expect(try platform.psql(uri, "SELECT 1").output == "1\n")

      try platform.psql(uri, "CREATE TABLE orders AS SELECT generate_series(1, 50) AS id")
      try platform.psql(uri, "DROP TABLE orders")
      var told = ""
      for _ in 0..<100 where !told.contains("public.orders") {
        told = try platform.exzo(["branches", "timeline", "main"]).output
      }
      #expect(told.contains("DROP TABLE public.orders"), "\(told)")
      try platform.exzo(["consumption"])
      try platform.exzo(["consumption", "transfers"])
      try platform.exzo(["support", "open", "--subject", "slow", "--text", "why?", "--bundle"])
      #expect(try platform.exzo(["support"]).output.contains("slow"))
      #expect(try platform.exzo(["support", "bundle"]).output.contains("made_at"))

      try platform.exzo(["projects", "delete", project])
      #expect(try platform.exzo(["projects", "list", "--deleted"]).output.contains(project))
      try platform.exzo(["projects", "recover", project])
      #expect(try platform.exzo(["projects", "list"]).output.contains(project))
    }
  }

  @Test func schedulesContextsAndStatesAreThoseOfNow() async throws {
    try await withPlatform { platform in
      let project = try platform.call("POST", "/projects", #"{"project":{"name":"one"}}"#)
        .string("project.id")
      try await platform.settle(project)
      try await platform.settle(
        try platform.call("POST", "/projects", #"{"project":{"name":"two"}}"#)
          .string("project.id"))
      // Neither forgotten nor taken unseen.
      try platform.exzo(["set-context", "--branch", "main"], status: 1)
      try platform.exzo(["set-context", "--project-id", "no-such-12345678"], status: 1)
      try platform.exzo(["set-context", "--project-id", project])
      try platform.exzo(["set-context", "--branch", "nothing"], status: 1)
      try platform.exzo(["set-context", "--branch", "main"])
      #expect(try platform.exzo(["status"]).output.contains(project))

      let adds = """
        for hour in $(seq 0 9); do
          "$1" schedule add main --frequency daily --hour $hour > /dev/null & pids="$pids $!"
        done
        for pid in $pids; do wait $pid || exit 1; done
        """
      let result = try run(
        ["bash", "-c", adds, "bash", Platform.program],
        environment: [
          "HOME": platform.directory, "EXZO_API_HOST": platform.url(""),
          "EXZO_API_KEY": try platform.key, "PATH": "/usr/bin:/bin",
        ], allowFailure: true)
      #expect(result.status == 0, "\(result.errorOutput)")
      let lines = try platform.exzo(["schedule", "get", "main"]).output
      #expect(lines.components(separatedBy: "daily").count == 11, "\(lines)")
      let left = try platform.exzo(["schedule", "remove", "main", "1"]).output
      #expect(left.components(separatedBy: "daily").count == 10, "\(left)")

      let endpoint = try platform.call("GET", "/projects/\(project)/endpoints")
        .string("endpoints.0.id")
      #expect(try platform.exzo(["endpoints", "suspend", endpoint]).output.contains("idle"))
      #expect(try platform.exzo(["endpoints", "start", endpoint]).output.contains("active"))
      try platform.exzo(["branches", "create", "--name", "a@b", "--no-compute"])
      try platform.exzo(["snapshots", "create", "a@b@head"])
      try platform.exzo(["snapshots", "create", "a@b"], status: 2)
      try platform.exzo(["branches", "get", "a@b"])
      // A server that is started anew is away for a moment.
      try platform.kill()
      try platform.begin()
      #expect(try platform.exzo(["branches", "list"]).output.contains("a@b"))
    }
  }

  @Test func aLostKeyIsReplacedWithAndWithoutServe() async throws {
    try await withPlatform { platform in
      let (data, lost) = ("\(platform.directory)/data", try platform.key)
      try FileManager.default.removeItem(atPath: "\(data)/api-key")
      let environment = ["HOME": platform.directory]
      func reset(_ more: [String] = []) throws -> String {
        let result = try run(
          [Platform.program, "api-keys", "reset-admin", "--data-dir", data] + more,
          environment: environment, allowFailure: true)
        #expect(result.status == 0, "\(result.errorOutput)")
        return try platform.key
      }
      let first = try reset()
      #expect(first != lost)
      for key in [first, lost] {
        #expect(try platform.call("GET", "/projects", key: key).status == 200)
      }
      var status = stat()
      #expect(stat("\(data)/api-key", &status) == 0 && status.st_mode & 0o777 == 0o600)
      try platform.shutDown()
      let second = try reset(["--revoke-others"])
      try await platform.start()
      #expect(try platform.call("GET", "/projects", key: second).status == 200)
      for key in [first, lost] {
        #expect(try platform.call("GET", "/projects", key: key).status == 401)
      }
      let stranger = try run(
        [Platform.program, "api-keys", "reset-admin", "--data-dir", "\(platform.directory)/none"],
        environment: environment, allowFailure: true)
      #expect(stranger.status == 1 && stranger.errorOutput.contains("no serve has run there"))
    }
  }

  /// Two servers of one user, one of them behind a certificate of its own.
  @Test func severalServersAndCertificatesAreToldApart() async throws {
    try await withPlatform { platform in
      let home = platform.directory
      try run(
        [
          "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
          "/CN=db.example.com", "-keyout", "\(home)/tls.key", "-out", "\(home)/tls.crt",
        ])
      func status(_ more: [String: String] = [:]) throws -> CommandResult {
        try run(
          [Platform.program, "status"],
          environment: ["HOME": home].merging(more) { $1 }, allowFailure: true)
      }
      #expect(try status().output.contains(platform.url("")))
      try FileManager.default.createDirectory(
        atPath: "\(home)/second", withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o711])
      let secure = try Platform(
        directory: "\(home)/second",
        arguments: ["--tls-cert", "\(home)/tls.crt", "--tls-key", "\(home)/tls.key"],
        environment: ["HOME": home])
      try secure.begin()
      defer { try? secure.shutDown() }  // the failure before it is the one to tell
      let url = "https://127.0.0.1:\(secure.httpPort)"
      var found = try status(["EXZO_DATA_DIR": "\(home)/second/data"])
      for _ in 0..<300 where found.status != 0 {
        try await Task.sleep(for: .milliseconds(100))
        found = try status(["EXZO_DATA_DIR": "\(home)/second/data"])
      }
      #expect(found.output.contains(url), "\(found.errorOutput)")
      #expect(try status(["EXZO_DATA_DIR": "\(home)/data"]).output.contains(platform.url("")))
      let unclear = try status()
      #expect(unclear.status == 1 && unclear.errorOutput.contains("several servers"))
      #expect(unclear.errorOutput.contains("EXZO_DATA_DIR"), "\(unclear.errorOutput)")
      // By its address the key and the certificate are found as well; a stranger's name is not trusted.
      #expect(try status(["EXZO_API_HOST": url]).status == 0)
      let named = try status([
        "EXZO_API_HOST": "https://localhost:\(secure.httpPort)", "EXZO_API_CA": "\(home)/tls.crt",
      ])
      #expect(named.status == 1, "\(named.output)")
      try secure.shutDown()
      #expect(try status().output.contains(platform.url("")))
    }
  }
}
