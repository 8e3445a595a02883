import PostgresFormat
import Testing

@Suite struct FileNameTests {
  private func relation(
    _ relation: UInt32, _ fork: ForkNumber = .main, segment: UInt32 = 0, backend: UInt32? = nil,
    tablespace: UInt32 = 1663, database: UInt32 = 5
  ) -> DataFileKind {
    .relation(
      RelationFile(
        locator: RelFileLocator(tablespace: tablespace, database: database, relation: relation),
        fork: fork, segment: segment, temporaryBackend: backend))
  }

  @Test func relationFilesAreRecognised() {
    #expect(DataFileKind(path: "base/5/16384") == relation(16384))
    #expect(DataFileKind(path: "base/5/16384.7") == relation(16384, segment: 7))
    #expect(
      DataFileKind(path: "base/5/16384_vm.1") == relation(16384, .visibilityMap, segment: 1))
    #expect(DataFileKind(path: "base/5/16384_fsm") == relation(16384, .freeSpaceMap))
    #expect(DataFileKind(path: "base/5/16384_init") == relation(16384, .initialization))
    #expect(DataFileKind(path: "base/5/t3_123") == relation(123, backend: 3))
    #expect(DataFileKind(path: "base/5/t3_123_vm") == relation(123, .visibilityMap, backend: 3))
    #expect(
      DataFileKind(path: "global/1262") == relation(1262, tablespace: 1664, database: 0))
    #expect(
      DataFileKind(path: "pg_tblspc/90000/PG_15_202209061/5/16400_fsm")
        == relation(16400, .freeSpaceMap, tablespace: 90000))
  }

  @Test(arguments: [
    "base", "base/5", "base/5/", "base/5/PG_VERSION", "base/5/016384", "base/5/16384_foo",
    "base/5/16384_main", "base/5/16384.0", "base/5/16384.01", "base/5/16384.1_vm", "base/5/0",
    "base/5/t_123", "base/5/t3_", "base/5/4294967296", "base/x/16384", "base/5/16384/1",
    "global/PG_VERSION", "pg_tblspc/90000", "pg_tblspc/90000/5/16400", "PG_VERSION",
    "pg_multixact", "pg_xact", "pg_xact/000", "pg_xact/000g", "pg_stat/pgstat.stat", "", "/",
    "postgresql.auto.conf", "pg_logical/replorigin_checkpoint", "pg_twophase/xyz",
  ])
  func otherNamesAreNot(path: String) {
    #expect(DataFileKind(path: path) == .other)
  }

  @Test func everythingElseHasItsKind() {
    #expect(DataFileKind(path: "global/pg_control") == .control)
    #expect(
      DataFileKind(path: "base/5/pg_filenode.map")
        == .relationMap(DatabaseDirectory(tablespace: 1663, database: 5)))
    #expect(
      DataFileKind(path: "global/pg_filenode.map")
        == .relationMap(DatabaseDirectory(tablespace: 1664, database: 0)))
    #expect(DataFileKind(path: "pg_xact/000A") == .slru(.commitLog, segment: 10))
    #expect(
      DataFileKind(path: "pg_multixact/members/14078") == .slru(.multiXactMembers, segment: 0x14078)
    )
    #expect(
      DataFileKind(path: "pg_notify/000000000000001") == .slru(.notifications, segment: 1))
    #expect(DataFileKind(path: "pg_twophase/000002DE") == .preparedTransaction(734))
    #expect(DataFileKind(path: "pg_wal/000000010000000000000001") == .wal)
    #expect(DataFileKind(path: "pg_replslot/exzo_capture/state") == .instance)
    #expect(DataFileKind(path: "backup_label") == .instance)
    for path in [
      "base/pgsql_tmp/pgsql_tmp123.0", "base/pgsql_tmp", "pg_stat_tmp/global.stat",
      "postmaster.pid",
      "pg_dynshmem/mmap.1", "pg_subtrans/0000", "base/5/t3_123", "global/pg_internal.init",
      "base/5/pg_internal.init.812", "pg_tblspc/9/PG_15_202209061/pgsql_tmp/x", "pg_serial/0000",
    ] {
      #expect(DataFileKind(path: path).isTransient, "\(path)")
    }
    for path in ["base/5/16384", "pg_xact/0000", "global/pg_control", "PG_VERSION", "pg_wal/x"] {
      #expect(!DataFileKind(path: path).isTransient, "\(path)")
    }
  }

  @Test func pathsAndBlocksAgree() {
    let locator = RelFileLocator(tablespace: 90000, database: 5, relation: 16400)
    let file = RelationFile(holding: 131_072 * 2 + 5, of: locator, fork: .visibilityMap)
    #expect(file.segment == 2 && file.firstBlock == 262_144)
    #expect(
      file.path(versionDirectory: PostgresMajor.v15.format.tablespaceDirectory)
        == "pg_tblspc/90000/PG_15_202209061/5/16400_vm.2")
  }

  @Test func segmentNamesAndPositionsAgree() throws {
    let segment = try #require(WALSegment(fileName: "0000000A00000012000000FE"))
    #expect(segment.timeline == TimelineID(10) && segment.number == 0x12FE)
    #expect(segment.fileName == "0000000A00000012000000FE")
    #expect(segment.startLSN == LSN("12/FE000000") && segment.endLSN == LSN("12/FF000000"))
    #expect(segment.next.next.fileName == "0000000A0000001300000000")
    #expect(
      WALSegment(timeline: TimelineID(10), containing: LSN("12/FEFFFFFF")!) == segment)
    let large = try #require(WALSegment(fileName: "000000010000000200000003", size: 1 << 30))
    #expect(large.startLSN == LSN("2/C0000000"))
    for name in [
      "000000010000000000000100", "00000001000000000000000", "0000000100000000000000ab",
      "000000010000000000000001.partial", "00000002.history",
    ] {
      #expect(WALSegment(fileName: name) == nil, "\(name)")
    }
    #expect(WALSegment(fileName: "000000010000000200000004", size: 1 << 30) == nil)
  }

  @Test func anUnusedPageIsValidAndHalfAPageIsNot() {
    var page = [UInt8](repeating: 0, count: 8192)
    #expect(page.withUnsafeBytes { DataChecksum.verify($0, block: 9) } == .unused)
    page[8000] = 1
    #expect(page.withUnsafeBytes { DataChecksum.verify($0, block: 9) } == .malformed)
  }

  @Test func timesCountFromTheYear2000() throws {
    #expect(PostgresTimestamp(0).unixMicroseconds == 946_684_800_000_000)
    #expect(
      PostgresTimestamp(unixMicroseconds: 946_684_801_000_000) == PostgresTimestamp(1_000_000))
    #expect(PostgresTimestamp(.max).unixMicroseconds == .max)
    #expect(PostgresTimestamp(unixMicroseconds: .min) == nil)
  }
}
