import ControlPlane
import Foundation
import PostgresClient

extension DatabaseImport {
  /// The source's schema as a database of the target's server prints it that was made by its statements, all of them
  /// and nothing else: some expressions come back in other words the first time (`varchar IN (…)`).
  ///
  /// The database is there for that alone. Where it cannot be made, or one statement fails, there is no answer: then
  /// the target is compared with what the source itself prints.
  func reprintedSchema(_ binaries: String, _ notes: inout [String]) -> String? {
    progress("comparing schemas")
    do {
      let connection = try Self.session(target)
      defer { connection.close() }
      var copy = target
      copy.database = "exzo_import_\(UUID().uuidString.lowercased())"
      try connection.query("CREATE DATABASE \(try SQL.identifier(copy.database)) \(try place())")
      defer {
        do {
          try connection.query("DROP DATABASE \(try SQL.identifier(copy.database))")
        } catch {
          notes.append("database '\(copy.database)', made for the comparison, is left: \(error)")
        }
      }
      try load(into: copy, binaries)
      return try schema(copy, binaries, snapshot: nil)
    } catch {
      notes.append(
        "the source's schema could not be made a second time, for the comparison: other words for the same count as a "
          + "difference: \(error)")
      return nil
    }
  }

  /// Where the target's own database is: its encoding and locale, without what a template may hold.
  private func place() throws -> String {
    let connection = try Self.session(target)
    defer { connection.close() }
    let row = try connection.query(
      """
      SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype
      FROM pg_database WHERE datname = current_database()
      """
    ).first
    guard let row else { throw DumpError("read database '\(target.database)': it is gone") }
    return "TEMPLATE template0 ENCODING \(try SQL.literal(row.value("encoding"))) "
      + "LC_COLLATE \(try SQL.literal(row.value("datcollate"))) "
      + "LC_CTYPE \(try SQL.literal(row.value("datctype")))"
  }

  private func load(into copy: ConnectionParameters, _ binaries: String) throws {
    let program = try ChildProgram(
      "\(binaries)/pg_restore",
      [
        "--schema-only", "--single-transaction", "--exit-on-error", "--no-owner",
        "--no-privileges", "--no-password", "--dbname", copy.withoutPassword, "\(scratch)/dump",
      ], environment: environment(copy), errors: "\(scratch)/reprint.err")
    defer { program.end() }
    try program.check("make the schema a second time")
  }
}
