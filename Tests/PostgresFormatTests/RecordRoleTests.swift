import Foundation
import TestSupport
import Testing

@testable import PostgresFormat

/// The list of record kinds, compared with the server's own headers.
@Suite struct RecordRoleTests {
  private static let headers = "/usr/include/postgresql/15/server"

  /// Header files, the prefix of their opcodes, the manager; names that are no opcodes are left out.
  private static let kinds: [(String, String, ResourceManager)] = [
    ("catalog/pg_control.h", "XLOG_", .xlog), ("access/xact.h", "XLOG_XACT_", .transaction),
    ("catalog/storage_xlog.h", "XLOG_SMGR_", .storage), ("access/clog.h", "CLOG_", .commitLog),
    ("commands/dbcommands_xlog.h", "XLOG_DBASE_", .database),
    ("commands/tablespace.h", "XLOG_TBLSPC_", .tablespace),
    ("access/multixact.h", "XLOG_MULTIXACT_", .multiXact),
    ("utils/relmapper.h", "XLOG_RELMAP_", .relationMap),
    ("storage/standbydefs.h", "XLOG_", .standby), ("access/heapam_xlog.h", "XLOG_HEAP2_", .heap2),
    ("access/heapam_xlog.h", "XLOG_HEAP_", .heap), ("access/nbtxlog.h", "XLOG_BTREE_", .btree),
    ("access/hash_xlog.h", "XLOG_HASH_", .hash), ("access/ginxlog.h", "XLOG_GIN_", .gin),
    ("access/gistxlog.h", "XLOG_GIST_", .gist), ("commands/sequence.h", "XLOG_SEQ_", .sequence),
    ("access/spgxlog.h", "XLOG_SPGIST_", .spGist), ("access/brin_xlog.h", "XLOG_BRIN_", .brin),
    ("access/commit_ts.h", "COMMIT_TS_", .commitTimestamp),
    ("replication/origin.h", "XLOG_REPLORIGIN_", .replicationOrigin),
    ("replication/message.h", "XLOG_LOGICAL_", .logicalMessage),
  ]

  @Test(
    .enabled(
      if: FileManager.default.fileExists(atPath: headers),
      "needs PostgreSQL's headers: sudo apt-get install postgresql-server-dev-15"))
  func everyOpcodeOfTheServersHeadersIsListed() throws {
    let roles = PostgresMajor.v15.recordRoles
    var hard: [String] = []
    var found = 0
    for (file, prefix, manager) in Self.kinds {
      for (name, opcode) in try opcodes(of: file, prefix) {
        found += 1
        switch roles.role(manager: manager, info: opcode) {
        case .hard(.unknownRecord): Issue.record("\(name) is not on the list")
        case .hard: hard.append(name)
        case .truncation: #expect(name == "XLOG_SMGR_TRUNCATE")
        case .pages, .state: break
        }
      }
    }
    #expect(found >= 110)
    #expect(
      hard == ["XLOG_DBASE_CREATE_FILE_COPY", "XLOG_TBLSPC_CREATE", "XLOG_TBLSPC_DROP"])
  }

  private func opcodes(of file: String, _ prefix: String) throws -> [(String, UInt8)] {
    let text = try String(contentsOfFile: "\(Self.headers)/\(file)", encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count >= 3, words[0] == "#define", words[1].hasPrefix(prefix),
        words[2].hasPrefix("0x"), let opcode = UInt8(words[2].dropFirst(2), radix: 16)
      else { return nil }
      let name = String(words[1])
      let isFlag =
        ["OPMASK", "INIT_PAGE", "HAS_INFO"].contains { name.hasSuffix($0) }
        && name != "XLOG_HASH_INIT_META_PAGE"
      // pg_control.h aside, one header holds opcodes of two managers.
      let isOther = prefix == "XLOG_HEAP_" && name.hasPrefix("XLOG_HEAP2_")
      return isFlag || isOther ? nil : (name, opcode)
    }
  }

  @Test func whatIsNotListedIsHard() {
    for major in PostgresMajor.allCases {
      let roles = major.recordRoles
      #expect(
        roles.role(manager: ResourceManager(rawValue: 200), info: 0)
          == .hard(.customResourceManager))
      #expect(roles.role(manager: .gin, info: 0xF0) == .hard(.unknownRecord))
      #expect(roles.role(manager: .xlog, info: 0xF0) == .hard(.unknownRecord))
      #expect(roles.role(manager: .database, info: 0x00) == .hard(.databaseFileCopy))
      #expect(
        (roles.role(manager: .xlog, info: 0xE0) == .state) == (major >= .v17), "\(major)")
    }
  }

  /// Kinds that look like page changes and are not, and the other way round.
  @Test func rolesOfKindsThatMislead() {
    let roles = PostgresMajor.v15.recordRoles
    #expect(roles.role(manager: .heap2, info: 0x00) == .state, "logical rewrite mappings")
    #expect(roles.role(manager: .xlog, info: 0xA0) == .pages, "image for a hint")
    #expect(roles.role(manager: .xlog, info: 0x40) == .state, "segment switch")
    #expect(roles.role(manager: .storage, info: 0x20) == .truncation)
    #expect(roles.role(manager: .transaction, info: 0xB0) == .state, "commit prepared, with more")
    #expect(roles.role(manager: .heap, info: 0x80) == .pages, "insert into a new page")
  }
}
