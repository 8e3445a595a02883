import Foundation
import TestSupport
import Testing

/// Dumps, their verification and the way back from them, through the front door.
@Suite(.serialized, .heavy) struct DumpTests {
  @Test func dumpsOfHeadAndPastAreVerifiedDownloadedAndRestored() async throws {
    try await withPlatform(arguments: ["--encryption", "on"]) { platform in
      let scene = try await Scene(shopOn: platform)
      let before = try await scene.now()
      try platform.psql(scene.uri, "DELETE FROM orders WHERE id > 1000")
      let heads = try scene.create(
        #"{"branches":["\#(scene.main)"],"databases":"all","format":"directory","jobs":2,"verify":true}"#
      )
      #expect((heads["dumps"] as? [Any])?.count == 2, "\(heads.text)")
      let past = try scene.create(
        #"{"branches":"all","databases":["exzodb"],"timestamp":"\#(before)","verify":true}"#)
      let plain = try scene.create(
        #"{"branches":["\#(scene.main)"],"databases":["exzodb"],"format":"plain"}"#)
      try await platform.settle(scene.project)
      for answer in [heads, past] {
        let found = try scene.dump(answer.string("dumps.0.id"))
        #expect(found.string("dump.verification.status") == "passed", "\(found.text)")
        #expect(found.string("dump.status") == "finished")
      }
      let custom = past.string("dumps.0.id")
      let path = "\(platform.directory)/past.dump"
      let url = platform.url("/api/v2/projects/\(scene.project)/dumps/\(custom)/download")
      let key = ["-H", "Authorization: Bearer \(try platform.key)"]
      // In three pieces, the last one to the end.
      let size = try #require(try scene.dump(custom)["dump.size_bytes"] as? Int)
      for range in ["0-99", "100-\(size / 2)", "\(size / 2 + 1)-"] {
        let answer = try platform.curl(
          key + ["-r", range, "-w", "%{http_code}", "-o", "\(path).piece", url])
        #expect(answer.output == "206", "\(answer)")
        try run(["sh", "-c", "cat \(path).piece >> \(path)"])
      }
      let sum = try run(["sha256sum", path]).output.prefix(64)
      #expect(try scene.dump(custom).string("dump.sha256") == sum)
      #expect(
        try run(["/usr/lib/postgresql/15/bin/pg_restore", "-l", path]).output.contains("orders"))
      let beyond = try platform.curl(
        key + ["-r", "\(size)-", "-w", "%{http_code}", "-o", "/dev/null", url])
      #expect(beyond.output == "416")
      let file = "\(platform.directory)/plain.sql"
      // What lies there as a beginning is none: told, thrown away, and the next run brings the dump.
      try Data("no dump".utf8).write(
        to: URL(fileURLWithPath: "\(file).\(plain.string("dumps.0.id")).part"))
      let refused = try platform.exzo(
        [
          "dumps", "download", plain.string("dumps.0.id"), "--file", file, "--project-id",
          scene.project,
        ], status: 1)
      #expect(refused.errorOutput.contains("what came has SHA-256"), "\(refused)")
      _ = try platform.exzo([
        "dumps", "download", plain.string("dumps.0.id"), "--file", file, "--project-id",
        scene.project,
      ])
      #expect(try run(["grep", "-c", "COPY public.orders", file]).output == "1\n")
      // Sealed: neither names nor rows can be read in the store.
      let readable = try run(
        ["grep", "-rlE", "COPY public.orders|dump-", "\(platform.directory)/data/objects"],
        allowFailure: true)
      #expect(readable.output == "" && readable.status == 1, "\(readable)")
      #expect(
        try run(["find", "\(platform.directory)/data/objects", "-name", "*dump*"]).output == "")
      // Counted as data transfer.
      let shown = try platform.call("GET", "/projects/\(scene.project)")
      #expect(shown["project.data_transfer_bytes"] as? Int ?? 0 >= size, "\(shown.text)")
      // The state of then, beside that of now.
      let restored = try platform.exzo([
        "dumps", "restore", custom, "--database", "then", "--project-id", scene.project,
      ])
      #expect(restored.status == 0)
      let then = scene.uri.replacing("/exzodb?", with: "/then?")
      #expect(try scene.rows(then, "SELECT count(*) FROM orders") == "2000")
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM orders") == "1000")
      let gone = try platform.call("DELETE", "/projects/\(scene.project)/dumps/\(custom)")
      #expect(gone.status == 200, "\(gone.text)")
      #expect(try scene.dump(custom).status == 404)
    }
  }

  @Test func serveKilledWhileItDumpsLeavesAWholeDumpAndNothingElse() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(shopOn: platform)
      try platform.psql(
        scene.uri,
        "CREATE TABLE big AS SELECT i, md5(i::text) || md5((i + 1)::text) AS t FROM generate_series(1, 400000) AS i"
      )
      for (format, jobs) in [("custom", 1), ("directory", 2)] {
        for pause in [300, 900, 2500] {
          let made = try scene.create(
            #"{"branches":["\#(scene.main)"],"databases":["exzodb"],"format":"\#(format)","jobs":\#(jobs),"verify":true}"#
          )
          try await Task.sleep(for: .milliseconds(pause))
          try platform.kill()
          try await platform.start()
          try await platform.settle(scene.project)
          let found = try scene.dump(made.string("dumps.0.id"))
          #expect(found.string("dump.verification.status") == "passed", "\(found.text)")
          let id = made.string("dumps.0.id")
          _ = try platform.call("DELETE", "/projects/\(scene.project)/dumps/\(id)")
        }
      }
      for _ in 0..<200 where try !scene.leftovers().isEmpty {
        try await Task.sleep(for: .milliseconds(100))
      }
      #expect(try scene.leftovers() == [])
    }
  }

  /// A download that damage cuts off is told so by whoever goes on with it.
  @Test func damageInADumpIsNamedWhereADownloadMeetsIt() async throws {
    try await withPlatform(arguments: ["--encryption", "off"]) { platform in
      let scene = try await Scene(shopOn: platform)
      try platform.psql(
        scene.uri,
        "CREATE TABLE big AS SELECT md5(i::text) || md5((i + 1)::text) AS t FROM generate_series(1, 150000) AS i"
      )
      let made = try scene.create(
        #"{"branches":["\#(scene.main)"],"databases":["exzodb"],"format":"plain"}"#)
      try await platform.settle(scene.project)
      let id = made.string("dumps.0.id")
      let found = try run([
        "find", "\(platform.directory)/data/objects", "-path", "*dumps/\(id)*", "-type", "f",
      ]).output
      let state = try scene.dump(id).text
      let pack = try #require(
        found.split(separator: "\n").first { $0.contains("/p0-") }.map(String.init),
        "\(found) \(state)")
      var bytes = try Data(contentsOf: URL(fileURLWithPath: pack))
      try #require(bytes.count > 3 << 20)
      bytes[5 << 19] ^= 1
      try bytes.write(to: URL(fileURLWithPath: pack))
      let words = [
        "dumps", "download", id, "--file", "\(platform.directory)/d.sql", "--project-id",
        scene.project,
      ]
      _ = try platform.exzo(words, status: 1)
      let told = try platform.exzo(words, status: 1)
      #expect(
        told.errorOutput.contains("dumps/\(id)/p0-")
          && told.errorOutput.contains("' is damaged at")
          && told.errorOutput.contains("make another"), "\(told)")
    }
  }

  @Test func aTableItsRowsAndADatabaseComeBack() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(shopOn: platform)
      let before = try await scene.now()
      try platform.psql(
        scene.uri, "DELETE FROM orders WHERE customer = 3; DELETE FROM customers WHERE id = 3")
      let context = ["--project-id", scene.project]
      let table = try platform.exzo(
        [
          "recover", "table", "public.orders", "--branch", "main", "--at", before, "--as",
          "orders_restored", "--database", "exzodb",
        ]
          + context)
      #expect(table.output.contains("2000 rows are in 'public.orders_restored'"), "\(table)")
      #expect(table.output.contains("orders_customer_fkey"), "\(table)")
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM orders") == "1900")
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM orders_restored") == "2000")
      // The owner owns it, and its sequence goes on: after a power cut, as at every moment, up to 32
      // values are left out.
      let next = try scene.rows(
        scene.uri, "INSERT INTO orders_restored (customer) VALUES (1) RETURNING id")
      #expect(Int(next).map { (2001...2033).contains($0) } == true, "\(next)")
      let customers = try platform.exzo(
        [
          "recover", "table", "customers", "--at", before, "--where", "id < 5", "--database",
          "exzodb",
        ] + context)
      #expect(customers.output.contains("1 of 4 rows"), "\(customers)")
      let rows = try platform.exzo(
        [
          "recover", "table", "orders", "--at", before, "--where", "customer = 3", "--database",
          "exzodb",
        ] + context)
      #expect(rows.output.contains("100 of 100 rows"), "\(rows)")
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM orders") == "2000")
      let database = try platform.exzo(
        ["recover", "database", "exzodb", "--at", before, "--as", "it was"] + context)
      #expect(database.status == 0)
      let was = scene.uri.replacing("/exzodb?", with: "/it%20was?")
      #expect(try scene.rows(was, "SELECT count(*) FROM customers") == "20")
      let refused = try platform.exzo(
        ["recover", "table", "orders", "--at", before, "--database", "exzodb"] + context, status: 1)
      #expect(refused.status == 1 && refused.errorOutput.contains("is there already"), "\(refused)")
      #expect(try scene.leftovers().count <= 1)
    }
  }
}

extension Scene {
  /// Orders of customers, and a second database whose name no shell and no page would like.
  fileprivate init(shopOn platform: Platform) async throws {
    try await self.init(
      platform, name: "dumps",
      sql: """
        CREATE TABLE customers (id int PRIMARY KEY, name text);
        INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 20) AS i;
        CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers (id),
          kind varchar(9) CHECK (kind IN ('a', 'b')), note text);
        CREATE INDEX orders_customer ON orders (customer);
        INSERT INTO orders (customer, kind, note)
          SELECT 1 + i % 20, 'a', md5(i::text) FROM generate_series(1, 2000) AS i;
        """)
    _ = try await post(
      "/branches/\(main)/databases",
      #"{"database":{"name":"odd \"name\" <b>ü</b>","owner_name":"exzodb_owner"}}"#, status: 201)
  }

  fileprivate func create(_ body: String) throws -> Platform.Answer {
    let answer = try platform.call("POST", "/projects/\(project)/dumps", body)
    #expect(answer.status == 201, "\(answer.text)")
    return answer
  }

  fileprivate func dump(_ id: String) throws -> Platform.Answer {
    try platform.call("GET", "/projects/\(project)/dumps/\(id)")
  }

  /// What is left of dumps and of scratch computes, on disk and in the store.
  fileprivate func leftovers() throws -> [String] {
    let data = "\(platform.directory)/data"
    let scratch = try FileManager.default.contentsOfDirectory(atPath: "\(data)/dumps").flatMap {
      try FileManager.default.contentsOfDirectory(atPath: "\(data)/dumps/\($0)")
    }
    // No dump, no directory of dumps.
    let objects =
      (try? FileManager.default.contentsOfDirectory(
        atPath: "\(data)/objects/objects/dumps")) ?? []
    return scratch
      + objects.filter {
        // A directory whose objects are gone may be left.
        (try? FileManager.default.contentsOfDirectory(
          atPath: "\(data)/objects/objects/dumps/\($0)"))?.isEmpty == false
      }
  }
}
