import Foundation
import TestSupport
import Testing

/// Dumps in a bucket: made and verified there, there after the machine is lost, and looked through by `exzo verify`.
@Suite(.serialized, .heavy, .needsObjectServer, .needsPostgres(), .needsFUSE, .needsRoot)
struct DumpStoreTests {
  @Test func dumpsInABucketOutliveTheMachineAndTheirDamageIsNamed() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let bucket = try await ObjectServer(directory: "\(directory)/s3")
      defer { bucket.stop() }
      func machine(_ name: String, _ arguments: [String]) throws -> Platform {
        let path = "\(directory)/\(name)"
        try FileManager.default.createDirectory(
          atPath: path, withIntermediateDirectories: true,
          attributes: [.posixPermissions: 0o711])
        return try Platform(
          directory: path, arguments: arguments + ["--drill-every", "0"],
          environment: bucket.environment)
      }
      let url = bucket.url(prefix: "exzo")
      let first = try machine("first", ["--object-store", url, "--encryption", "off"])
      try await first.start()
      let scene = try await Scene(
        first, name: "far",
        sql:
          "CREATE TABLE orders AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 50000) AS i"
      )
      let dumps = try await Self.makeDumps(scene)
      let keyFile = "\(directory)/master-key"
      try FileManager.default.copyItem(
        atPath: "\(first.directory)/data/master-key", toPath: keyFile)
      try await Task.sleep(for: .seconds(2))  // the catalog of `local` durability
      try first.lose(deletingData: true)
      let second = try machine("second", ["--recover-from", url, "--master-key", keyFile])
      try await second.start()
      defer { try? second.lose(deletingData: false) }  // processes only; errors were reported
      try await Self.check(dumps, scene, on: second)
      try Self.checkDamage(dumps[0], scene.project, second, "\(bucket.directory)/bucket/exzo")
    }
  }

  private static func makeDumps(_ scene: Scene) async throws -> [String] {
    var ids: [String] = []
    for format in [#""format":"custom""#, #""format":"directory","jobs":2"#] {
      let made = try await scene.post(
        "/dumps",
        #"{"branches":["\#(scene.main)"],"databases":["exzodb"],\#(format),"verify":true}"#,
        status: 201)
      let id = made.string("dumps.0.id")
      let found = try scene.platform.call("GET", "/projects/\(scene.project)/dumps/\(id)")
      #expect(found.string("dump.verification.status") == "passed", "\(found.text)")
      ids.append(id)
    }
    return ids
  }

  /// The same bytes, and a database of them.
  private static func check(
    _ dumps: [String], _ scene: Scene, on machine: Platform
  ) async throws {
    let project = ["--project-id", scene.project]
    for (number, id) in dumps.enumerated() {
      let found = try machine.call("GET", "/projects/\(scene.project)/dumps/\(id)")
      #expect(found.string("dump.status") == "finished", "\(found.text)")
      let file = "\(machine.directory)/\(number).dump"
      try machine.exzo(["dumps", "download", id, "--file", file] + project)
      #expect(
        try run(["sha256sum", file]).output.prefix(64) == found.string("dump.sha256").prefix(64))
      try machine.exzo(["dumps", "restore", id, "--database", "again\(number)"] + project)
      let uri = machine.uri(scene.uri).replacing("/exzodb?", with: "/again\(number)?")
      #expect(try machine.value(uri, "SELECT count(*), min(t) FROM orders").hasPrefix("50000|"))
    }
    let verified = try machine.exzo(["verify"] + project)
    #expect(verified.output.contains("passed"), "\(verified)")
  }

  /// A byte of one pack is turned, another object is gone: both are named, and served to nobody.
  private static func checkDamage(
    _ dump: String, _ project: String, _ machine: Platform, _ bucket: String
  ) throws {
    let name = try #require(
      try FileManager.default.contentsOfDirectory(atPath: "\(bucket)/dumps/\(dump)")
        .first { $0.hasPrefix("p0-") })
    let pack = "\(bucket)/dumps/\(dump)/\(name)"
    var bytes = try Data(contentsOf: URL(fileURLWithPath: pack))
    let whole = bytes
    bytes[bytes.count / 2] ^= 1
    try bytes.write(to: URL(fileURLWithPath: pack))
    // What was read before lies in the cache, which would still serve it.
    try FileManager.default.removeItem(atPath: "\(machine.directory)/data/cache")
    let of = ["--project-id", project]
    let damaged = try machine.exzo(["verify"] + of, status: 1)
    #expect(
      damaged.errorOutput.contains("dumps/\(dump)/\(name)': it is damaged at"), "\(damaged)")
    let refused = try machine.exzo(
      ["dumps", "restore", dump, "--database", "never"] + of, status: nil)
    #expect(refused.status != 0 && refused.errorOutput.contains("p0"), "\(refused)")
    try whole.write(to: URL(fileURLWithPath: pack))
    try FileManager.default.removeItem(atPath: "\(bucket)/dumps/\(dump)/manifest")
    let missing = try machine.exzo(["verify"] + of, status: 1)
    #expect(missing.errorOutput.contains("dumps/\(dump)/manifest"), "\(missing)")
  }
}
