import Foundation
import PostgresFormat

/// What `pg_waldump` sees in a stretch of WAL: an account of commits that owes nothing to our own
/// WAL reader.
public struct WALSummary: Sendable {
  public struct Commit: Sendable, Hashable {
    /// Where the record begins.
    public var lsn: LSN
    public var transaction: UInt32
  }

  /// First byte of every record, ascending: the record boundaries.
  public var recordStarts: [LSN] = []
  /// `COMMIT` and `COMMIT_PREPARED` records, ascending.
  public var commits: [Commit] = []
  /// By relation file (`tablespace/database/relation`), the transactions that inserted a heap row.
  public var insertersByRelation: [String: [UInt32: Int]] = [:]

  /// Reads `[start, end)` of the segments in `directory`. Blocks the thread.
  ///
  /// - Throws: ``CommandFailure`` when the WAL ends before `end`.
  public init(
    directory: String, from start: LSN, to end: LSN, timeline: TimelineID = TimelineID(1),
    major: Int = 15
  ) throws {
    try forEachLine(
      of: [
        StockServer.binaries(major: major) + "/pg_waldump", "-p", directory, "-t",
        "\(timeline.rawValue)", "-s", "\(start)", "-e", "\(end)",
      ]
    ) { read($0, before: end) }
  }

  /// Where each record of a kind ends: the start of the record after it.
  ///
  /// - Parameters:
  ///   - manager: `Btree`, `Heap`, … as `pg_waldump` names it.
  ///   - words: what the description holds, such as `SPLIT_`.
  public static func ends(
    ofRecordsOf manager: String, saying words: String, directory: String, from start: LSN,
    to end: LSN, major: Int = 15
  ) throws -> [LSN] {
    var found: [LSN] = []
    var isAfterOne = false
    try forEachLine(
      of: [
        StockServer.binaries(major: major) + "/pg_waldump", "-p", directory, "-s", "\(start)", "-e",
        "\(end)",
      ]
    ) { line in
      guard line.hasPrefix("rmgr: "), let range = line.range(of: "lsn: "),
        let lsn = LSN(String(line[range.upperBound...].prefix { $0 != "," }))
      else { return }
      if isAfterOne { found.append(lsn) }
      isAfterOne = line.hasPrefix("rmgr: \(manager) ") && line.contains("desc: \(words)")
    }
    return found
  }

  /// Rows that committed transactions had put into `relation` by `target`, a record boundary.
  public func committedInserts(into relations: Set<String>, before target: LSN) -> Int {
    var rows = 0
    let committed = Set(commits.lazy.filter { $0.lsn < target }.map(\.transaction))
    for relation in relations {
      for (transaction, count) in insertersByRelation[relation] ?? [:]
      where committed.contains(transaction) {
        rows += count
      }
    }
    return rows
  }

  /// The last commit that begins before `target`.
  public func lastCommit(before target: LSN) -> Commit? { commits.last { $0.lsn < target } }

  private mutating func read(_ line: Substring, before end: LSN) {
    guard line.hasPrefix("rmgr: "), let lsn = LSN(field("lsn: ", in: line)), lsn < end else {
      return
    }
    recordStarts.append(lsn)
    guard let description = line.range(of: "desc: ").map({ line[$0.upperBound...] }),
      let transaction = UInt32(field("tx:", in: line).trimmingCharacters(in: .whitespaces))
    else { return }
    if description.hasPrefix("COMMIT_PREPARED") {
      let prepared = UInt32(description.dropFirst(16).prefix { $0.isNumber })
      commits.append(Commit(lsn: lsn, transaction: prepared ?? transaction))
    } else if description.hasPrefix("COMMIT ") {
      commits.append(Commit(lsn: lsn, transaction: transaction))
    } else if line.hasPrefix("rmgr: Heap "), description.hasPrefix("INSERT") {
      let relation = String(field("blkref #0: rel ", in: description, end: " "))
      insertersByRelation[relation, default: [:]][transaction, default: 0] += 1
    }
  }

  private func field(_ name: String, in line: Substring, end: Character = ",") -> String {
    guard let range = line.range(of: name) else { return "" }
    return String(line[range.upperBound...].prefix { $0 != end })
  }
}

/// Runs a program and hands over each line it prints, without holding the whole output.
/// Throws on a status other than 0.
func forEachLine(of arguments: [String], _ body: (Substring) -> Void) throws {
  let child = try ChildProcess(arguments, errors: .output)
  var said = ""
  var rest: [UInt8] = []
  while true {
    let bytes = ChildProcess.read(from: child.output)
    guard !bytes.isEmpty else { break }
    rest += bytes
    guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
    let text = String(decoding: rest[...end], as: UTF8.self)
    for line in text.split(separator: "\n") {
      body(line)
      if line.contains("error:") { said += "\(line)\n" }
    }
    rest.removeFirst(end + 1)
  }
  let status = child.wait()
  guard status == 0 else {
    throw CommandFailure(
      description: "\(arguments.joined(separator: " ")): status \(status)\n\(said)")
  }
}
