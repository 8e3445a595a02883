import ControlPlane
import Foundation
import PostgresClient

/// One transaction that `psql` runs as a role that is not superuser, written to it piece by piece.
///
/// `psql` commits only when the whole script was handed over: an end of its input before that leaves
/// nothing behind. What comes from an archive stands between `\\restrict` and `\\unrestrict`, as
/// PostgreSQL's own programs write it, so that no name can be taken for a command of psql's.
final class RestoreScript {
  private let program: ChildProgram
  private let input: ProgramPipe
  private let binaries: String
  private let scratch: String
  private let output: String
  private let key: String
  private let errors: String
  private var attempts = 0
  private static let noteMark = "exzo-note "
  private static let attemptMark = "exzo-attempt "

  /// - Parameters:
  ///   - prefix: words before the program, which change to another user of the system.
  init(
    binaries: String, prefix: [String], scratch: String, connection: String, password: String,
    key: String
  ) throws {
    self.binaries = binaries
    self.scratch = scratch
    self.key = key
    output = "\(scratch)/psql.out"
    errors = "\(scratch)/psql.err"
    input = try ProgramPipe()
    let descriptor = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw DumpError.file("open", output) }
    defer { close(descriptor) }
    let words =
      prefix + [
        "\(binaries)/psql", "--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1",
        "--output", "/dev/null", "--dbname", connection, "--file", "-",
      ]
    program = try ChildProgram(
      words[0], Array(words.dropFirst()),
      environment: ["PGPASSWORD": password, "PGCLIENTENCODING": "UTF8"],
      input: input.reading, output: descriptor, errors: errors)
    input.closeReading()
    try write("BEGIN;\n")
  }

  deinit { program.end() }

  func write(_ text: String) throws {
    try noticingItsEnd { try input.write(text) }
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    try noticingItsEnd { try input.write(bytes) }
  }

  /// A psql that ended early has said why.
  private func noticingItsEnd(_ body: () throws -> Void) throws {
    do {
      try body()
    } catch {
      input.closeWriting()
      if program.wait() != 0 { throw DumpError("restore: \(program.said)") }
      throw error
    }
  }

  /// Statements that came from an archive.
  func writeRestricted(_ statements: String) throws {
    try write("\\restrict \(key)\n\(statements)\n\\unrestrict \(key)\n")
  }

  /// The archive's entries as statements, in the order given; the contents of large objects come last.
  ///
  /// `pg_restore` writes these between a BEGIN and a COMMIT of their own, which would end the script's transaction.
  func write(_ entries: [ArchiveContents.Entry], of archive: String) throws {
    let contents = entries.filter { $0.kind == "BLOBS" }
    try read(entries.filter { $0.kind != "BLOBS" }, of: archive) { bytes in
      try bytes.withUnsafeBytes { try write($0) }
    }
    var line: [UInt8] = []
    try read(contents, of: archive) { bytes in
      let kept = Self.withoutTransactions(bytes, &line)
      try kept.withUnsafeBytes { try write($0) }
    }
    try line.withUnsafeBytes { try write($0) }
    // What comes from the archive sets its own.
    try write("SET client_encoding = 'UTF8';\n")
  }

  /// Whole lines that neither begin nor end a transaction. All others are calls with numbers, and comments.
  /// - Parameter line: the beginning of one that is not whole yet.
  private static func withoutTransactions(_ bytes: [UInt8], _ line: inout [UInt8]) -> [UInt8] {
    var kept: [UInt8] = []
    kept.reserveCapacity(line.count + bytes.count)
    var rest = bytes[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      line += rest[...end]
      rest = rest[(end + 1)...]
      if !line.elementsEqual("BEGIN;\n".utf8), !line.elementsEqual("COMMIT;\n".utf8) {
        kept += line
      }
      line = []
    }
    line += rest
    return kept
  }

  private func read(
    _ entries: [ArchiveContents.Entry], of archive: String, _ take: ([UInt8]) throws -> Void
  ) throws {
    guard !entries.isEmpty else { return }
    let list = "\(scratch)/list"
    try Data(entries.map { "\($0.id);\n" }.joined().utf8).write(to: URL(fileURLWithPath: list))
    let pipe = try ProgramPipe()
    let restore = try ChildProgram(
      "\(binaries)/pg_restore", ["--file", "-", "--use-list", list, archive],
      output: pipe.writing, errors: "\(scratch)/pg_restore.err")
    pipe.closeWriting()
    do {
      while true {
        guard let bytes = try pipe.read(milliseconds: 60_000) else { continue }
        if bytes.isEmpty { break }
        try take(bytes)
      }
      try restore.check("read the archive")
    } catch {
      restore.end()
      throw error
    }
  }

  /// Entries that may fail without the rest, one by one.
  func attempt(_ entries: [ArchiveContents.Entry]) throws {
    for entry in entries {
      try attempt(
        entry.definition, otherwise: "not restored: \(entry.kind.lowercased()) '\(entry.tag)'")
    }
  }

  /// Statements that may fail without the rest: what the server said is noted.
  func attempt(_ statements: String, otherwise note: String) throws {
    attempts += 1
    let mark = "\(Self.attemptMark)\(attempts)"
    try write("SAVEPOINT exzo;\n\\set ON_ERROR_STOP 0\n\\warn '\(mark)'\n")
    try writeRestricted(statements)
    try write(
      "\\if :ERROR\nROLLBACK TO SAVEPOINT exzo;\n"
        + "\\echo '\(Self.noteMark)\(Self.quoted(note)): \(mark)'\n\\endif\nRELEASE SAVEPOINT exzo;\n\\set ON_ERROR_STOP 1\n"
    )
  }

  /// Has psql note a text of each row of a query.
  ///
  /// - Parameters:
  ///   - text: an expression; line ends in its value become spaces.
  ///   - source: what follows it in the query.
  func noteRows(_ text: String, _ source: String) throws {
    try write(
      "\\pset tuples_only on\n\\pset format unaligned\n\\o\n"
        + "SELECT '\(Self.noteMark)' || translate(\(text), E'\\n\\r', '  ')\n\(source);\n\\o /dev/null\n"
    )
  }

  /// As the argument of a command of psql's, in single quotes.
  private static func quoted(_ text: String) -> String {
    text.replacing("\n", with: " ").replacing("\\", with: "\\\\").replacing("'", with: "''")
  }

  /// Commits, and returns what was noted.
  func commit() throws -> [String] {
    try write("COMMIT;\n")
    input.closeWriting()
    try program.check("restore")
    let text = String(
      decoding: FileManager.default.contents(atPath: output) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n").filter { $0.hasPrefix(Self.noteMark) }.map {
      withReason($0.dropFirst(Self.noteMark.count).trimmingCharacters(in: .whitespaces))
    }
  }

  /// The note of an attempt with the first error that the server raised in it: those that follow only say that the
  /// transaction is aborted.
  private func withReason(_ note: String) -> String {
    guard let place = note.range(of: Self.attemptMark, options: .backwards),
      Int(note[place.upperBound...]) != nil
    else { return note }
    let mark = note[place.lowerBound...]
    let said = String(
      decoding: FileManager.default.contents(atPath: errors) ?? Data(), as: UTF8.self
    ).split(separator: "\n")
    let reason = said.drop { $0 != mark }.dropFirst().first { $0.contains("ERROR:  ") }
      .map { $0.split(separator: "ERROR:  ", maxSplits: 1).last ?? $0 }
    return String(note[..<place.lowerBound]) + (reason ?? "it failed")
  }

  /// Ends it without effect.
  func abandon() { program.end() }
}
