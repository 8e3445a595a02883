import Foundation
import TestSupport
import Testing

/// An object store, and the machines that use it one after the other.
struct Site {
  let directory: String
  let encryption: String
  var store: String { "file://\(directory)/store" }

  init(_ directory: String, encryption: String = "off") throws {
    self.directory = directory
    self.encryption = encryption
    chmod(directory, 0o711)
  }

  /// - Parameters:
  ///   - recovering: the file with the master key, where the machine is to bring everything back.
  ///   - plain: no flags about the store at all.
  ///   - ports: whose addresses it takes over, so that connection strings stay what they are.
  func machine(
    _ name: String, recovering keyFile: String? = nil, from source: String? = nil,
    plain: Bool = false, more: [String] = [], ports: Platform? = nil
  ) throws -> Platform {
    let path = "\(directory)/\(name)"
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
    var arguments = ["--drill-every", "0"] + more
    if let keyFile {
      arguments += ["--recover-from", source ?? store, "--master-key", keyFile]
    } else if !plain {
      arguments += ["--object-store", store, "--encryption", encryption]
    } else {
      arguments += ["--master-key", "\(directory)/master-key"]
    }
    return try Platform(
      directory: path, arguments: arguments, ports: ports.map { ($0.httpPort, $0.postgresPort) })
  }

  /// The command that starts a machine by hand.
  func arguments(_ name: String) -> [String] {
    var arguments = [
      Platform.program, "serve", "--data-dir", "\(directory)/\(name)/data", "--http",
      "127.0.0.1:0", "--postgres", "127.0.0.1:0",
    ]
    if FileManager.default.fileExists(atPath: "\(directory)/\(name)/data/metadata"), name == "first"
    {
      arguments += ["--encryption", encryption]
    }
    return arguments
  }

  func copyMasterKey(of machine: Platform) throws -> String {
    let copy = "\(directory)/master-key"
    try FileManager.default.copyItem(atPath: "\(machine.directory)/data/master-key", toPath: copy)
    return copy
  }

  /// Changes a byte of the last WAL chunk of a branch's line; returns its key.
  func damageNewestWAL(of scene: DisasterScene) throws -> String {
    let files = FileManager.default
    let root = "\(directory)/store/objects/lines/\(scene.line)/wal"
    let newest = try #require(try files.contentsOfDirectory(atPath: root).sorted().last)
    let path = "\(root)/\(newest)"
    var bytes = try #require(files.contents(atPath: path))
    bytes[bytes.count - 20] ^= 0x10
    try bytes.write(to: URL(fileURLWithPath: path))
    return "lines/\(scene.line)/wal/\(newest)"
  }

  /// Changes a byte of all that the store has of the catalog, but for the keys that it is sealed with.
  func damageCatalog() throws {
    let files = FileManager.default
    let root = "\(directory)/store/objects/catalog"
    var count = 0
    for name in try files.subpathsOfDirectory(atPath: root) where !name.hasPrefix("exzo") {
      let path = "\(root)/\(name)"
      var isDirectory: ObjCBool = false
      guard files.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue,
        var bytes = files.contents(atPath: path)
      else { continue }
      bytes[bytes.count - 1] ^= 0x10
      try bytes.write(to: URL(fileURLWithPath: path))
      count += 1
    }
    #expect(count > 1)
  }
}

extension Platform {
  /// Processes that were started on the data directory or work in it.
  func processes() -> [pid_t] {
    let data = "\(directory)/data"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { pid_t($0) }.filter { pid in
      guard pid != getpid() else { return false }
      // Processes come and go while they are looked at.
      let command = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
      let words = String(decoding: command, as: UTF8.self).split(separator: "\0")
      let place = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd")
      if place == data || place?.hasPrefix(data + "/") == true { return true }
      return words.contains { $0.hasPrefix(data) } && words.first?.hasSuffix("/env") != true
    }
  }

  /// All processes die at once, as when the machine is switched off; then its disk is gone.
  func lose(deletingData: Bool) throws {
    for _ in 0..<200 {
      let left = processes()
      if left.isEmpty { break }
      for pid in left { Glibc.kill(pid, SIGKILL) }
      usleep(20_000)
    }
    serve?.wait()
    let data = "\(directory)/data"
    let mounts = try String(contentsOfFile: "/proc/mounts", encoding: .utf8)
    for line in mounts.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 1, words[1].hasPrefix(data + "/") else { continue }
      try run(["umount", "-l", String(words[1])], allowFailure: true)
    }
    if deletingData { try FileManager.default.removeItem(atPath: data) }
  }

  /// A connection string of another machine, at this one's address.
  func uri(_ other: String) -> String {
    guard var parts = URLComponents(string: other) else { return other }
    parts.port = postgresPort
    return parts.string ?? other
  }
}

/// What an installation holds before it is lost, and how one sees that it is all there again.
final class DisasterScene {
  let machine: Platform
  let project: String
  let main: String
  let uri: String
  let otherURI: String
  private(set) var line = ""
  private var accountKey = ""
  private var moment = ""
  private var password = ""
  private var reader = ""
  private var child = ""
  private var childURI = ""

  /// Two projects of two accounts.
  init(on machine: Platform) async throws {
    self.machine = machine
    let created = try machine.call("POST", "/projects", #"{"project":{"name":"kept"}}"#)
    #expect(created.status == 201, "\(created.text)")
    project = created.string("project.id")
    main = created.string("branch.id")
    uri = created.string("connection_uris.0.connection_uri")
    try await machine.settle(project)
    let account = try machine.call(
      "POST", "/accounts", #"{"account":{"name":"Other","email":"o@example.com","plan":"pro"}}"#)
    #expect(account.status == 201, "\(account.text)")
    accountKey = account.string("api_key.key")
    if accountKey.isEmpty { accountKey = account.string("key.key") }
    let other = try machine.call(
      "POST", "/projects", #"{"project":{"name":"other"}}"#, key: accountKey)
    #expect(other.status == 201, "\(other.text) \(account.text)")
    otherURI = other.string("connection_uris.0.connection_uri")
    try machine.psql(otherURI, "CREATE TABLE t AS SELECT generate_series(1, 10) AS n")
  }

  /// Everything that there is, as good as it goes.
  func write() async throws {
    let path = "/projects/\(project)"
    try machine.psql(uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    moment = try machine.psql(uri, "SELECT pg_current_wal_insert_lsn()").output
      .trimmingCharacters(in: .newlines)
    try machine.psql(
      uri, "DELETE FROM t WHERE n > 500; CREATE SEQUENCE s START 7; SELECT nextval('s')")
    let branch = try machine.call(
      "POST", "\(path)/branches",
      #"{"branch":{"name":"dev","parent_lsn":"\#(moment)"},"endpoints":[{"type":"read_write"}]}"#)
    #expect(branch.status == 201, "\(branch.text)")
    child = branch.string("branch.id")
    childURI = branch.string("connection_uris.0.connection_uri")
    try await machine.settle(project)
    try machine.psql(childURI, "INSERT INTO t SELECT generate_series(2001, 2010)")
    let role = try machine.call(
      "POST", "\(path)/branches/\(main)/roles", #"{"role":{"name":"reader"}}"#)
    #expect(role.status == 201, "\(role.text)")
    reader = role.string("role.password")
    try await machine.settle(project)
    let snapshot = try machine.call(
      "POST", "\(path)/branches/\(main)/snapshot?name=keep&lsn=\(moment)")
    #expect(snapshot.status < 300, "\(snapshot.text)")
    let schedule = try machine.call(
      "PUT", "\(path)/branches/\(main)/backup_schedule",
      #"{"schedule":[{"frequency":"daily","hour":3,"retention_seconds":86400}]}"#)
    #expect(schedule.status < 300, "\(schedule.text)")
    let renamed = try machine.call("PATCH", path, #"{"project":{"name":"kept and renamed"}}"#)
    #expect(renamed.status == 200, "\(renamed.text)")
    try await machine.settle(project)
    try machine.psql(uri, "INSERT INTO t VALUES (-1)")
    line = try newestLine()
    // In `local` durability the last second may be lost; this test is about everything before it.
    try await Task.sleep(for: .seconds(2))
  }

  /// The line that the project's compute on `main` writes: of those with a directory the one with the
  /// project's role and no parent but the template.
  private func newestLine() throws -> String {
    let lines = "\(machine.directory)/data/lines"
    for line in try FileManager.default.contentsOfDirectory(atPath: lines) {
      let path = "\(lines)/\(line)/compute.json"
      guard let text = FileManager.default.contents(atPath: path) else { continue }
      let json = try JSONSerialization.jsonObject(with: text) as? [String: Any]
      guard json?["projectID"] as? String == project else { continue }
      let socket = "host=\(lines)/\(line)/run user=exzo_superuser dbname=exzodb"
      let rows = try machine.psql(socket, "SELECT count(*) FROM t WHERE n = -1", allowFailure: true)
      if rows.output == "1\n" { return line }
    }
    throw CommandFailure(description: "no compute holds the branch 'main'")
  }

  func check(on machine: Platform, uri: String? = nil) async throws {
    let uri = uri ?? self.uri
    let path = "/projects/\(project)"
    // The same strings, the same passwords.
    #expect(
      try machine.psql(uri, "SELECT count(*), min(n), max(n) FROM t").output == "501|-1|500\n")
    #expect(try machine.psql(uri, "SELECT nextval('s') > 7").output == "t\n")
    #expect(
      try machine.psql(machine.uri(childURI), "SELECT count(*) FROM t").output == "1010\n")
    #expect(try machine.psql(machine.uri(otherURI), "SELECT count(*) FROM t").output == "10\n")
    let asReader = machine.uri(self.uri).replacingOccurrences(
      of: "//[^@]*@", with: "//reader:\(reader)@", options: .regularExpression)
    #expect(try machine.psql(asReader, "SELECT current_user").output == "reader\n")
    let shown = try machine.call("GET", path)
    #expect(shown.string("project.name") == "kept and renamed")
    let revealed = try machine.call(
      "GET", "\(path)/branches/\(main)/roles/reader/reveal_password")
    #expect(revealed.string("password") == reader, "\(revealed.text)")
    let theirs = try machine.call("GET", "/projects", key: accountKey)
    #expect(theirs.string("projects.0.name") == "other", "\(theirs.text)")
    let schedule = try machine.call("GET", "\(path)/branches/\(main)/backup_schedule")
    #expect(schedule["schedule.0.hour"] as? Int == 3, "\(schedule.text)")
    let snapshots = try machine.call("GET", "\(path)/snapshots")
    #expect(snapshots.string("snapshots.0.name") == "keep", "\(snapshots.text)")
    try await checkPast(on: machine, snapshot: snapshots.string("snapshots.0.id"))
  }

  /// The snapshot, and a moment of the time before the loss, open.
  private func checkPast(on machine: Platform, snapshot: String) async throws {
    let path = "/projects/\(project)"
    let restored = try machine.call(
      "POST", "\(path)/snapshots/\(snapshot)/restore", #"{"name":"from-snapshot-\#(UUID())"}"#)
    #expect(restored.status < 300, "\(restored.text)")
    let past = try machine.call(
      "POST", "\(path)/branches",
      #"{"branch":{"parent_id":"\#(main)","parent_lsn":"\#(moment)"},"endpoints":[{"type":"read_write"}]}"#
    )
    #expect(past.status == 201, "\(past.text)")
    try await machine.settle(project)
    let copy = past.string("connection_uris.0.connection_uri")
    #expect(try machine.psql(copy, "SELECT count(*), max(n) FROM t").output == "1000|1000\n")
    for branch in [past.string("branch.id"), restored.string("branch.id")] {
      let deleted = try machine.call("DELETE", "\(path)/branches/\(branch)")
      #expect(deleted.status < 300, "\(deleted.text)")
    }
    try await machine.settle(project)
  }
}
