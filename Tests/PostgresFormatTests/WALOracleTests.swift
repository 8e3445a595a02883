import Foundation
import PostgresFormat
import TestSupport
import Testing

/// Everything here is compared with PostgreSQL's own tools on the same files.
@Suite(.serialized) struct WALOracleTests {
  @Test(arguments: ["on", "off"])
  func everyRecordIsAsWALDumpPrintsIt(fullPageWrites: String) async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(
        in: "\(directory)/server",
        settings: [
          "full_page_writes=\(fullPageWrites)", "max_prepared_transactions=5", "wal_level=logical",
          "wal_compression=\(fullPageWrites == "on" ? "lz4" : "off")", "wal_keep_size=2GB",
        ])
      try server.start()
      let start = try server.lsn("pg_current_wal_insert_lsn()")
      try server.pgbench(["-i", "-s", "2", "-q"])
      try server.psql("CHECKPOINT")
      try server.pgbench(["-c", "2", "-t", "500"])
      try server.runMixedWork()
      let end = try server.lsn("pg_current_wal_flush_lsn()")
      try server.stop()
      let expected = try waldump(server, start, end)
      var reader = WALStreamReader(format: .v15, startingAtPage: start.pageStart)
      var found: [String] = []
      let outcome = try reader.feed(try server.wal.bytes(start.pageStart, end), at: reader.position)
      { record in
        if record.startLSN >= start { found.append(record.description) }
        _ = try record.content()
      }
      #expect(outcome == .needsBytes)
      #expect(found.count > 5000)
      #expect(found.count == expected.count)
      let difference = zip(found, expected).first { $0 != $1 }
      #expect(difference == nil)
    }
  }

  /// `pg_waldump`'s lines without their `desc:` parts.
  func waldump(_ server: StockServer, _ start: LSN, _ end: LSN) throws -> [String] {
    let output = try run(
      [
        "\(server.binaries)/pg_waldump", "-p", server.wal.directory, "-s", "\(start)", "-e",
        "\(end)",
      ], asPostgresUser: true, allowFailure: true
    ).output
    return output.split(separator: "\n").map { line in
      guard let description = line.range(of: ", desc: ") else { return String(line) }
      guard let blocks = line.range(of: ", blkref #0: ") else {
        return String(line[..<description.lowerBound])
      }
      return String(line[..<description.lowerBound] + line[blocks.lowerBound...])
    }
  }
}
