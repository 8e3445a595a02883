import Foundation
import PostgresFormat
import TestSupport
import Testing

@Suite struct OverwrittenRecordTests {
  /// A power cut in the middle of a record, as PostgreSQL itself goes on after it.
  @Test(arguments: installedMajors)
  func aRecordCutByAPowerFailureIsGivenUp(major: PostgresMajor) async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: "\(directory)/server", major: major.rawValue)
      try server.start()
      try server.psql(
        "CREATE TABLE t AS SELECT g a, repeat('x', 200) b FROM generate_series(1, 3000) g")
      let redo = try server.position("redo_lsn FROM pg_control_checkpoint()")
      let end = try server.position("pg_current_wal_flush_lsn()")
      try server.stop(mode: "immediate")
      let cut = try #require(try cutARecord(server, major, redo, end))
      try server.start()
      try server.psql("CREATE TABLE after AS SELECT 1")
      let newEnd = try server.position("pg_current_wal_flush_lsn()")
      try server.stop()
      var reader = WALStreamReader(format: major, startingAtRecord: redo)
      var contents: [WALRecordContent] = []
      let bytes = try walBytes("\(server.dataDirectory)/pg_wal", redo, newEnd)
      var offset = 0
      while offset < bytes.count {
        let piece = Array(bytes[offset..<min(bytes.count, offset + 5000)])
        let outcome = try reader.feed(piece, at: reader.position) {
          contents.append(try $0.content())
        }
        #expect(outcome == .needsBytes)
        offset += piece.count
      }
      let overwrites = contents.contains {
        if case .overwriteContinuation(of: cut, _) = $0 { true } else { false }
      }
      #expect(overwrites)
      #expect(reader.lastRecordEnd == newEnd)
    }
  }

  /// Zeroes the log from the page on which the last page-crossing record continues; returns where
  /// that record begins.
  private func cutARecord(
    _ server: StockServer, _ major: PostgresMajor, _ redo: LSN, _ end: LSN
  ) throws -> LSN? {
    let wal = "\(server.dataDirectory)/pg_wal"
    var reader = WALStreamReader(format: major, startingAtRecord: redo)
    var crossing: LSN?
    _ = try reader.feed(try walBytes(wal, redo, end), at: redo) {
      if $0.startLSN.pageStart + 8192 < $0.endLSN { crossing = $0.startLSN }
    }
    guard let crossing else { return nil }
    let page = crossing.pageStart + 8192
    let segment = WALSegment(timeline: TimelineID(1), containing: page)
    var bytes = try readFile("\(wal)/\(segment.fileName)")
    let from = Int(page - segment.startLSN)
    bytes.replaceSubrange(from..., with: repeatElement(0, count: bytes.count - from))
    try writeFile("\(wal)/\(segment.fileName)", bytes)
    return crossing
  }
}
