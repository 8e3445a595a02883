import APIClient
import APITypes
import Foundation
import TestSupport
import Testing

@testable import CommandLineTool

@Suite struct ReferenceTests {
  @Test func branchAndMomentAreToldApart() throws {
    #expect(try MomentReference("main").moment == nil)
    #expect(try MomentReference("main@0/1a2b3c").moment == .lsn("0/1A2B3C"))
    #expect(try MomentReference("main@00000001/0000000F").moment == .lsn("1/F"))
    // A name may have the sign, too.
    #expect(try MomentReference("a@b@0/1").branch == "a@b")
    #expect(try MomentReference("a@b@0/1").moment == .lsn("0/1"))
    for text in ["main@head", "a@b@head", "a@0/1@head"] {
      let head = try MomentReference(text)
      #expect(head.moment == nil && "\(head.branch)@head" == text)
    }
    let date = try #require(RFC3339.date("2026-11-23T10:00:00Z"))
    let time = try MomentReference("^self@2026-11-23T10:00:00Z")
    #expect(time.branch == "^self")
    #expect(time.moment == .timestamp(date))
  }

  @Test(arguments: [
    "", "@0/1", "main@", "main@yesterday", "main@0/", "main@1/2/3", "main@0/1FFFFFFFF", "@head",
    "a@b",
  ])
  func malformedReferencesAreRefused(text: String) {
    #expect(throws: CommandError.self) { try MomentReference(text) }
  }

  @Test func momentBecomesTheRightFieldOfTheRequest() throws {
    let lsn = API.NewBranch(
      name: "x", parentID: "br-a", moment: .lsn("0/1A2B3C"), isProtected: false, expiresAt: nil)
    #expect(
      String(decoding: try APICoding.encode(lsn), as: UTF8.self)
        == #"{"name":"x","parent_id":"br-a","parent_lsn":"0/1A2B3C"}"#)
    let restore = API.BranchRestoreRequest(
      sourceBranchID: "br-a", moment: .lsn("0/1"), preserveUnderName: "old", force: false)
    #expect(
      String(decoding: try APICoding.encode(restore), as: UTF8.self)
        == #"{"preserve_under_name":"old","source_branch_id":"br-a","source_lsn":"0/1"}"#)
  }

  @Test func passwordIsTakenOutOfTheURI() {
    let uri = ConnectionURI("postgresql://me:p%40ss@127.0.0.1:5433/db?options=endpoint%3Dep-a")
    #expect(uri.password == "p@ss")
    #expect(uri.withoutPassword == "postgresql://me@127.0.0.1:5433/db?options=endpoint%3Dep-a")
    for plain in ["postgresql://me@host/db?x=a:b@c", "postgresql:///db", "host=a", ""] {
      #expect(ConnectionURI(plain) == ConnectionURI(plain))
      #expect(ConnectionURI(plain).withoutPassword == plain)
      #expect(ConnectionURI(plain).password == nil)
    }
  }

  @Test func tableAlignsAndDisarmsControlCharacters() {
    let text = Output.table(
      [("a", "long name"), ("bbb", "x\u{1B}[2J")], [Column("ID") { $0.0 }, Column("NAME") { $0.1 }])
    #expect(text == "ID   NAME\na    long name\nbbb  x?[2J\n")
  }

  @Test func jsonAndYAMLKeepEveryField() throws {
    let data = Data(
      #"{"b":[{"n":1.50,"t":"true","e":""}],"a":null,"big":12345678901234567890}"#.utf8)
    let yaml = try Output.yaml(data)
    #expect(yaml.contains("big: 12345678901234567890"))
    #expect(yaml.contains("n: 1.50"))
    #expect(yaml.contains(#"t: "true""#))
    #expect(yaml.hasPrefix("a: null\nb:\n"))
    #expect(try Output.json(data).contains(#""t" : "true""#))
  }
}

@Suite struct LocatorTests {
  private func write(_ text: String, _ path: String) throws {
    try FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  @Test func environmentComesBeforePointersBeforeTheDefault() async throws {
    try await withTemporaryDirectory { path in
      let (data, servers) = ("\(path)/data", "\(path)/servers")
      func locate(_ environment: [String: String]) throws -> ServerLocation {
        try ServerLocator(environment: environment, directories: [servers]).locate()
      }
      #expect(try locate([:]) == ServerLocation(host: ServerLocator.defaultHost, key: nil))
      try write("filed\n", "\(data)/api-key")
      let byDirectory = try locate(["EXZO_DATA_DIR": data])
      #expect(byDirectory == ServerLocation(host: ServerLocator.defaultHost, key: "filed"))
      try ServerPointer(url: "http://127.0.0.1:9", dataDirectory: data).write(to: servers)
      let pointed = ServerLocation(host: "http://127.0.0.1:9", key: "filed")
      #expect(try locate([:]) == pointed)
      #expect(try locate(["EXZO_DATA_DIR": data]) == pointed)
      #expect(try locate(["EXZO_API_HOST": "127.0.0.1:9", "EXZO_API_KEY": ""]) == pointed)
      let other = try locate(["EXZO_API_HOST": "db.example.com:1"])
      #expect(other == ServerLocation(host: "http://db.example.com:1", key: nil))
      let named = try locate(["EXZO_API_HOST": "https://a", "EXZO_API_KEY": "k"])
      #expect(named == ServerLocation(host: "https://a", key: "k"))
      try write("{", "\(servers)/broken.json")
      #expect(throws: CommandError.self) { try locate([:]) }
    }
  }

  /// Nobody holds the locks of these data directories, but for one.
  @Test func theServerThatRunsIsFoundAmongThoseThatRan() async throws {
    try await withTemporaryDirectory { path in
      let servers = "\(path)/servers"
      for (name, port) in [("one", 1), ("two", 2), ("three", 3)] {
        try write("", "\(path)/\(name)/serve.lock")
        try ServerPointer(
          url: "https://127.0.0.1:\(port)", dataDirectory: "\(path)/\(name)",
          certificateFile: "\(path)/tls.crt"
        ).write(to: servers)
      }
      func locate() throws -> ServerLocation {
        try ServerLocator(environment: [:], directories: [servers]).locate()
      }
      #expect(try locate().host == "https://127.0.0.1:3")
      let lock = open("\(path)/one/serve.lock", O_RDWR)
      defer { close(lock) }
      #expect(flock(lock, LOCK_EX) == 0)
      let found = try locate()
      #expect(found.host == "https://127.0.0.1:1")
      #expect(found.trust == ServerTrust(certificateFile: "\(path)/tls.crt", checksName: false))
      let second = open("\(path)/two/serve.lock", O_RDWR)
      defer { close(second) }
      #expect(flock(second, LOCK_EX) == 0)
      #expect(throws: CommandError.self) { try locate() }
      // A data directory that is gone is forgotten with the next server's start.
      try FileManager.default.removeItem(atPath: "\(path)/three")
      try ServerPointer(url: "http://127.0.0.1:4", dataDirectory: "\(path)/one").write(to: servers)
      #expect(try FileManager.default.contentsOfDirectory(atPath: servers).count == 2)
    }
  }

  @Test func nearestContextIsTaken() async throws {
    try await withTemporaryDirectory { path in
      let home = "\(path)/home"
      func load(_ directory: String) throws -> SavedContext {
        try SavedContext.load(from: directory, home: home)
      }
      try FileManager.default.createDirectory(
        atPath: "\(path)/work/deep", withIntermediateDirectories: true)
      #expect(try load("\(path)/work/deep") == SavedContext())
      try SavedContext(projectID: "everywhere").save(to: SavedContext.userPath(home: home))
      #expect(try load("\(path)/work/deep").projectID == "everywhere")
      try SavedContext(projectID: "here", branch: "dev").save(to: "\(path)/work/.exzo")
      #expect(try load("\(path)/work/deep") == SavedContext(projectID: "here", branch: "dev"))
    }
  }
}
