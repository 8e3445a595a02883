import Foundation

/// `pg_amcheck` over a whole server.
public enum AmCheck {
  /// Checks every heap and B-tree of every database, each index against its heap
  /// (`--heapallindexed`), and installs the amcheck extension where it is missing.
  ///
  /// - Parameter options: more options, such as `--jobs=2`.
  /// - Returns: what is wrong, in pg_amcheck's words; empty when all is well.
  public static func failures(
    on server: ServerConnection, options: [String] = []
  ) throws -> [String] {
    let result = try run(
      [
        server.program("pg_amcheck"), "--all", "--heapallindexed", "--install-missing",
        "--maintenance-db=\(server.conninfo)", "-h", server.host, "-p", "\(server.port)", "-U",
        server.user,
      ] + options, environment: server.environment, allowFailure: true)
    guard result.status != 0 else { return [] }
    let lines = (result.output + result.errorOutput).split(separator: "\n").map(String.init)
    return lines.isEmpty ? ["pg_amcheck: status \(result.status)"] : lines
  }
}

/// Two servers compared by what `pg_dump` says of them.
public enum DumpComparison {
  /// A sequence may be ahead by as much as is logged in advance (`SEQ_LOG_VALS`).
  public static let sequenceSlack: Int64 = 32

  /// Compares every database that takes connections, and the roles.
  ///
  /// Sequences may differ by up to ``sequenceSlack``; unlogged tables by their content (they are
  /// empty after recovery on both sides, and may hold rows on a live one).
  /// - Returns: what differs, in words, at most 20 lines a database; empty when equal.
  public static func differences(
    _ left: ServerConnection, _ right: ServerConnection
  ) throws -> [String] {
    // One whose DROP has begun is invalid, and refuses connections.
    let databases =
      "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1"
    let names = try left.psql(databases)
    let others = try right.psql(databases)
    guard names == others else {
      return [
        "databases differ: [\(names)] and [\(others)]".replacingOccurrences(of: "\n", with: " ")
      ]
    }
    var found = compare(try globals(left), try globals(right), database: "(roles)")
    for name in names.split(separator: "\n").map(String.init) {
      found += compare(
        try dump(left.with(database: name)), try dump(right.with(database: name)), database: name)
    }
    return found
  }

  static func compare(_ left: String, _ right: String, database: String) -> [String] {
    let (a, b) = (normalised(left), normalised(right))
    if a.lines == b.lines, sequencesAgree(a.sequences, b.sequences) { return [] }
    var found: [String] = []
    for change in b.lines.difference(from: a.lines).prefix(20) {
      switch change {
      case .insert(_, let line, _): found.append("\(database): only right: \(line)")
      case .remove(_, let line, _): found.append("\(database): only left: \(line)")
      }
    }
    for name in Set(a.sequences.keys).union(b.sequences.keys).sorted() {
      let (x, y) = (a.sequences[name], b.sequences[name])
      guard !agree(x, y) else { continue }
      found.append("\(database): sequence \(name): \(text(x)) and \(text(y))")
    }
    return found
  }

  private static func text(_ value: Int64?) -> String { value.map { "\($0)" } ?? "absent" }

  private static func agree(_ a: Int64?, _ b: Int64?) -> Bool {
    guard let a, let b else { return false }
    return abs(a - b) <= sequenceSlack
  }

  private static func sequencesAgree(_ a: [String: Int64], _ b: [String: Int64]) -> Bool {
    a.keys == b.keys && a.allSatisfy { agree($0.value, b[$0.key]) }
  }

  /// A dump with rows of each table in order of their text (physical order is no part of equality:
  /// a scan may start anywhere), sequence values apart and per-dump noise out.
  private static func normalised(_ dump: String) -> (lines: [Substring], sequences: [String: Int64])
  {
    var lines: [Substring] = []
    var sequences: [String: Int64] = [:]
    var rows: [Substring]?
    for line in dump.split(separator: "\n", omittingEmptySubsequences: true) {
      if rows != nil {
        if line == "\\." {
          lines += rows?.sorted() ?? []
          rows = nil
        } else {
          rows?.append(line)
        }
      } else if let (name, value) = sequenceValue(line) {
        sequences[name] = value
      } else if !line.hasPrefix("--"), !line.hasPrefix("\\restrict"),
        !line.hasPrefix("\\unrestrict")
      {
        lines.append(line)
        if line.hasPrefix("COPY "), line.hasSuffix("FROM stdin;") { rows = [] }
      }
    }
    return (lines, sequences)
  }

  /// `SELECT pg_catalog.setval('public.s', 42, true);`
  private static func sequenceValue(_ line: Substring) -> (String, Int64)? {
    guard line.hasPrefix("SELECT pg_catalog.setval('") else { return nil }
    let parts = line.dropFirst(26).split(separator: "'", maxSplits: 1)
    guard parts.count == 2,
      let value = Int64(parts[1].drop { !($0.isNumber || $0 == "-") }.prefix { $0 != "," })
    else { return nil }
    return (String(parts[0]), value)
  }

  private static func dump(_ server: ServerConnection) throws -> String {
    try run(
      [server.program("pg_dump"), "--no-unlogged-table-data", "-d", server.conninfo],
      environment: server.environment
    ).output
  }

  private static func globals(_ server: ServerConnection) throws -> String {
    try run(
      [server.program("pg_dumpall"), "--globals-only", "-d", server.conninfo],
      environment: server.environment
    ).output
  }
}
