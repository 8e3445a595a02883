import Foundation
import PostgresFormat
import TestSupport
import Testing

/// Control file, checksums and file names of real clusters, against PostgreSQL's own tools.
@Suite(.serialized) struct ClusterFileTests {
  @Test(arguments: installedMajors)
  func aClusterIsAsPostgresToolsSeeIt(major: PostgresMajor) async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(
        in: "\(directory)/server", major: major.rawValue,
        settings: [
          "max_connections=77", "max_prepared_transactions=3", "track_commit_timestamp=on",
        ])
      try server.start()
      try server.runMixedWork()
      try server.psql(
        "CREATE TABLE kept AS SELECT g a, md5(g::text) b FROM generate_series(1, 9000) g")
      try server.psql("VACUUM kept")
      let path = try server.psql("SELECT pg_relation_filepath('kept')")
      try checkFileNames(server)
      try server.stop()
      try checkControlFile(server, major)
      try checkPatch(server, major)
      try checkPages(server, damaging: path)
    }
  }

  /// What `pg_controldata` prints, by name.
  private func controlData(_ server: StockServer) throws -> [String: String] {
    let output = try run(
      ["\(server.binaries)/pg_controldata", server.dataDirectory],
      environment: ["LC_ALL": "C", "TZ": "UTC"], asPostgresUser: true
    ).output
    var fields: [String: String] = [:]
    for line in output.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      fields[String(line[..<colon])] = line[line.index(after: colon)...].trimmingCharacters(
        in: .whitespaces)
    }
    return fields
  }

  private func checkControlFile(_ server: StockServer, _ major: PostgresMajor) throws {
    let file = try ControlFile(
      readFile("\(server.dataDirectory)/global/pg_control"), major: major)
    let checkpoint = file.checkpoint
    let settings = file.parameters
    let mine: [String: String] = [
      "pg_control version number": "\(file.controlVersion)",
      "Catalog version number": "\(file.catalogVersion)",
      "Database system identifier": "\(file.systemIdentifier)",
      "Latest checkpoint location": "\(file.checkpointLSN)",
      "Latest checkpoint's REDO location": "\(checkpoint.redo)",
      "Latest checkpoint's TimeLineID": "\(checkpoint.timeline.rawValue)",
      "Latest checkpoint's PrevTimeLineID": "\(checkpoint.previousTimeline.rawValue)",
      "Latest checkpoint's full_page_writes": checkpoint.fullPageWrites ? "on" : "off",
      "Latest checkpoint's NextXID":
        "\(checkpoint.nextFullXID >> 32):\(checkpoint.nextFullXID & 0xFFFF_FFFF)",
      "Latest checkpoint's NextOID": "\(checkpoint.nextOID)",
      "Latest checkpoint's NextMultiXactId": "\(checkpoint.nextMultiXact)",
      "Latest checkpoint's NextMultiOffset": "\(checkpoint.nextMultiXactOffset)",
      "Latest checkpoint's oldestXID": "\(checkpoint.oldestXID)",
      "Latest checkpoint's oldestXID's DB": "\(checkpoint.oldestXIDDatabase)",
      "Latest checkpoint's oldestActiveXID": "\(checkpoint.oldestActiveXID)",
      "Latest checkpoint's oldestMultiXid": "\(checkpoint.oldestMultiXact)",
      "Latest checkpoint's oldestMulti's DB": "\(checkpoint.oldestMultiXactDatabase)",
      "Latest checkpoint's oldestCommitTsXid": "\(checkpoint.oldestCommitTimestampXID)",
      "Latest checkpoint's newestCommitTsXid": "\(checkpoint.newestCommitTimestampXID)",
      "Fake LSN counter for unlogged rels": "\(file.unloggedLSN)",
      "Minimum recovery ending location": "\(file.minRecoveryPoint)",
      "Min recovery ending loc's timeline": "\(file.minRecoveryPointTimeline.rawValue)",
      "Backup start location": "\(file.backupStartPoint)",
      "Backup end location": "\(file.backupEndPoint)",
      "End-of-backup record required": file.isBackupEndRequired ? "yes" : "no",
      "wal_level setting": ["minimal", "replica", "logical"][Int(settings.walLevel)],
      "wal_log_hints setting": settings.walLogHints ? "on" : "off",
      "max_connections setting": "\(settings.maxConnections)",
      "max_worker_processes setting": "\(settings.maxWorkerProcesses)",
      "max_wal_senders setting": "\(settings.maxWALSenders)",
      "max_prepared_xacts setting": "\(settings.maxPreparedTransactions)",
      "max_locks_per_xact setting": "\(settings.maxLocksPerTransaction)",
      "track_commit_timestamp setting": settings.trackCommitTimestamp ? "on" : "off",
      "Database block size": "\(file.blockSize)",
      "Blocks per segment of large relation": "\(file.blocksPerSegment)",
      "WAL block size": "\(file.walBlockSize)",
      "Bytes per WAL segment": "\(file.walSegmentSize)",
      "Data page checksum version": "\(file.dataChecksumVersion)",
    ]
    let theirs = try controlData(server)
    for (name, value) in mine { #expect(theirs[name] == value, "\(name)") }
    #expect(theirs["Database cluster state"] == "shut down" && file.state == .shutDown)
    #expect(settings.maxConnections == 77 && settings.trackCommitTimestamp)
    #expect(major.format.catalogVersion == file.catalogVersion)
  }

  private func checkPatch(_ server: StockServer, _ major: PostgresMajor) throws {
    let path = "\(server.dataDirectory)/global/pg_control"
    let original = try readFile(path)
    var file = try ControlFile(original, major: major)
    file.state = .inProduction
    file.systemIdentifier = 7_000_000_000_000_000_001
    let crc = major.format.controlCRCOffset
    let changed = original.indices.filter { original[$0] != file.bytes[$0] }
    #expect(changed.allSatisfy { $0 < 8 || (16..<20) ~= $0 || (crc..<(crc + 4)) ~= $0 })
    try writeFile(path, file.bytes)
    let theirs = try controlData(server)
    #expect(theirs["Database cluster state"] == "in production")
    #expect(theirs["Database system identifier"] == "7000000000000000001")
    try writeFile(path, original)
  }

  /// Every page verifies; one flipped bit is reported by both, with the same numbers.
  private func checkPages(_ server: StockServer, damaging path: String) throws {
    var pages = 0
    for name in try FileManager.default.subpathsOfDirectory(atPath: server.dataDirectory) {
      guard case .relation(let file) = DataFileKind(path: name) else { continue }
      let bytes = try readFile("\(server.dataDirectory)/\(name)")
      #expect(bytes.count % 8192 == 0)
      for index in 0..<(bytes.count / 8192) {
        let verdict = verify(bytes, index, file.firstBlock)
        #expect(verdict == .valid || verdict == .unused, "\(name) block \(index)")
        pages += 1
      }
    }
    #expect(pages > 1000)
    try check(server, expecting: nil)
    var bytes = try readFile("\(server.dataDirectory)/\(path)")
    bytes[3 * 8192 + 5000] ^= 0x10
    try writeFile("\(server.dataDirectory)/\(path)", bytes)
    guard case .mismatch(let stored, let computed) = verify(bytes, 3, 0) else {
      Issue.record("a flipped bit was not noticed")
      return
    }
    let numbers =
      "calculated checksum \(String(computed, radix: 16, uppercase: true)) "
      + "but block contains \(String(stored, radix: 16, uppercase: true))"
    try check(server, expecting: numbers)
    bytes.withUnsafeMutableBytes {
      DataChecksum.store(in: .init(rebasing: $0[(3 * 8192)..<(4 * 8192)]), block: 3)
    }
    try writeFile("\(server.dataDirectory)/\(path)", bytes)
    try check(server, expecting: nil)
  }

  private func verify(_ bytes: [UInt8], _ index: Int, _ first: UInt32) -> DataChecksum.Verdict {
    bytes.withUnsafeBytes {
      DataChecksum.verify(
        .init(rebasing: $0[(index * 8192)..<((index + 1) * 8192)]), block: first + UInt32(index))
    }
  }

  private func check(_ server: StockServer, expecting message: String?) throws {
    let result = try run(
      ["\(server.binaries)/pg_checksums", "--check", server.dataDirectory], asPostgresUser: true,
      allowFailure: true)
    #expect((result.status == 0) == (message == nil), "\(result.errorOutput)")
    if let message {
      #expect(result.errorOutput.contains("block 3: \(message)"), "\(result.errorOutput)")
    }
  }

  /// Each relation that the server names has the path that we make and the kind that we see.
  private func checkFileNames(_ server: StockServer) throws {
    let rows = try server.psql(
      """
      SELECT pg_relation_filepath(c.oid), pg_relation_filenode(c.oid),
        CASE WHEN c.reltablespace = 0 THEN 1663 ELSE c.reltablespace END,
        CASE WHEN c.relisshared THEN 0 ELSE d.oid END
      FROM pg_class c, pg_database d WHERE d.datname = current_database()
        AND pg_relation_filepath(c.oid) IS NOT NULL
      """
    ).split(separator: "\n").map { $0.split(separator: "|") }
    #expect(rows.count > 200)
    for row in rows {
      let locator = RelFileLocator(
        tablespace: try #require(UInt32(row[2])), database: try #require(UInt32(row[3])),
        relation: try #require(UInt32(row[1])))
      let file = RelationFile(locator: locator)
      #expect(file.path(versionDirectory: "") == row[0])
      #expect(DataFileKind(path: String(row[0])) == .relation(file))
    }
    for name in try FileManager.default.subpathsOfDirectory(atPath: "\(server.dataDirectory)/base")
    {
      let parts = name.split(separator: "/")
      guard parts.count == 2, parts[1] != "PG_VERSION" else { continue }
      #expect(DataFileKind(path: "base/\(name)") != .other, "\(name)")
    }
  }
}
