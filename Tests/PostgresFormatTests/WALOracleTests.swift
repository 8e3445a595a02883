import Foundation
import PostgresFormat
import TestSupport
import Testing

/// Records of every installed version, compared with `pg_waldump` on the same files.
@Suite(.serialized) struct WALOracleTests {
  @Test(arguments: installedMajors, [true, false])
  func everyRecordIsAsWALDumpPrintsIt(major: PostgresMajor, fullPageWrites: Bool) async throws {
    let sample = try await WALSample.make(major, fullPageWrites: fullPageWrites)
    let records = try sample.records()
    let expected = sample.dump.map(withoutDescription)
    #expect(records.count > 5000)
    #expect(records.count == expected.count)
    let difference = zip(records, expected).first { $0.text != $1 }
    #expect(difference == nil, "\(String(describing: difference))")
    try compareHeap(records, sample.dump)
    try compareTransactions(records, sample.dump)
    compareCounts(records, sample.dump)
  }

  private func withoutDescription(_ line: String) -> String {
    guard let description = line.range(of: ", desc: ") else { return line }
    let head = line[..<description.lowerBound]
    guard let blocks = line.range(of: ", blkref #") else { return String(head) }
    return String(head + line[blocks.lowerBound...])
  }

  /// The text after `desc:`, cut before the block references.
  private func description(_ line: String) -> Substring {
    guard let start = line.range(of: ", desc: ") else { return "" }
    let rest = line[start.upperBound...]
    return rest.range(of: ", blkref #").map { rest[..<$0.lowerBound] } ?? rest
  }

  /// The flags that `pg_waldump` prints decide which visibility-map bits are cleared.
  private func compareHeap(_ records: [CopiedRecord], _ dump: [String]) throws {
    var compared = 0
    var cleared = 0
    for (record, line) in zip(records, dump) where line.hasPrefix("rmgr: Heap") {
      let text = description(line)
      let kind = text.prefix { $0 != " " && $0 != "+" }
      guard ["INSERT", "DELETE", "UPDATE", "HOT_UPDATE", "MULTI_INSERT", "LOCK"].contains(kind),
        let at = text.range(of: "flags: 0x") ?? text.range(of: "flags 0x"),
        let flags = UInt8(text[at.upperBound...].prefix(2), radix: 16)
      else { continue }
      compared += 1
      let isUpdate = kind.hasSuffix("UPDATE")
      let wanted = isUpdate ? (flags & 3).nonzeroBitCount : Int(flags & 1)
      let found = [record.cleared.first, record.cleared.second].compactMap { $0 }.count
      // An update within one page may clear both bits of the same block.
      #expect(found == wanted || isUpdate && wanted == 2 && found == 1, "\(line)")
      cleared += found
      #expect(record.operation != nil, "\(line)")
    }
    #expect(compared > 1000)
    #expect(cleared > 10)
  }

  /// Times, subtransactions and dropped files of commits and aborts.
  private func compareTransactions(_ records: [CopiedRecord], _ dump: [String]) throws {
    var counts = (ends: 0, drops: 0, subtransactions: 0, prepared: 0)
    for (record, line) in zip(records, dump) where line.hasPrefix("rmgr: Transaction") {
      let text = String(description(line))
      if case .prepare(let prepared) = record.content {
        #expect(text.contains("gid \(prepared.name)"), "\(text)")
        #expect(paths("rels(commit):", in: text) == prepared.relationsDroppedOnCommit.map(path))
        #expect(paths("rels(abort):", in: text) == prepared.relationsDroppedOnAbort.map(path))
        #expect(numbers(after: "subxacts:", in: text) == prepared.subtransactions)
        counts.prepared += 1
      }
      guard case .transactionEnd(let end) = record.content else { continue }
      counts.ends += 1
      #expect(text.hasPrefix(end.isCommit ? "COMMIT" : "ABORT"), "\(text)")
      #expect(text.contains(print(end.time)), "\(text)")
      if end.endsPrepared { #expect(text.contains(" \(end.xid)"), "\(text)") }
      let dropped = end.droppedRelations.map(path)
      #expect(paths("rels:", in: text) == dropped, "\(text)")
      #expect(numbers(after: "subxacts:", in: text) == end.subtransactions, "\(text)")
      counts.drops += dropped.count
      counts.subtransactions += end.subtransactions.count
    }
    #expect(counts.ends > 500 && counts.drops > 5)
    #expect(counts.subtransactions >= 2 && counts.prepared == 2)
  }

  private func compareCounts(_ records: [CopiedRecord], _ dump: [String]) {
    func lines(_ manager: String, _ kind: String) -> Int {
      dump.count { $0.hasPrefix("rmgr: \(manager) ") && description($0).hasPrefix(kind) }
    }
    func kinds(_ matches: (WALRecordContent) -> Bool) -> Int {
      records.count { matches($0.content) }
    }
    #expect(
      lines("Storage", "CREATE") == kinds { if case .fileCreate = $0 { true } else { false } })
    #expect(
      lines("Storage", "TRUNCATE") == kinds { if case .fileTruncate = $0 { true } else { false } })
    #expect(
      lines("XLOG", "CHECKPOINT_ONLINE")
        == kinds { if case .checkpoint(_, false) = $0 { true } else { false } })
    #expect(
      lines("Database", "CREATE_FILE_COPY")
        == kinds { if case .databaseCreateByFileCopy = $0 { true } else { false } })
    #expect(
      lines("Database", "DROP") == kinds { if case .databaseDrop = $0 { true } else { false } })
    #expect(
      lines("RelMap", "UPDATE") == kinds { if case .relationMap = $0 { true } else { false } })
    #expect(lines("XLOG", "SWITCH") == kinds { $0 == .segmentSwitch })
    #expect(
      lines("Heap ", "TRUNCATE") == kinds { if case .tableTruncate = $0 { true } else { false } })
    #expect(lines("XLOG", "SWITCH") > 0 && lines("RelMap", "UPDATE") > 0)
  }
}

/// Reading `pg_waldump`'s descriptions.
extension WALOracleTests {
  /// The words after `label` up to the next semicolon.
  private func list(_ label: String, in text: String) -> String? {
    guard let start = text.range(of: label) else { return nil }
    return String(text[start.upperBound...].prefix { $0 != ";" })
      .trimmingCharacters(in: .whitespaces)
  }

  private func paths(_ label: String, in text: String) -> [String] {
    list(label, in: text)?.split(separator: " ").map(String.init) ?? []
  }

  private func path(_ locator: RelFileLocator) -> String {
    RelationFile(locator: locator).path(versionDirectory: "")
  }

  private func numbers(after label: String, in text: String) -> [UInt32] {
    list(label, in: text)?.split(separator: " ").compactMap { UInt32($0) } ?? []
  }

  private func print(_ time: PostgresTimestamp) -> String {
    let micros = time.unixMicroseconds
    var seconds = time_t(micros / 1_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    return String(
      format: "%04d-%02d-%02d %02d:%02d:%02d.%06d UTC", parts.tm_year + 1900, parts.tm_mon + 1,
      parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, Int32(micros % 1_000_000))
  }
}
