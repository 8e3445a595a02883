import ControlPlane
import Foundation

/// The name of a table as users write it: `orders`, `public.orders`, `"Odd.Schema"."a ""table"""`.
struct TableName: Sendable, Hashable, CustomStringConvertible {
  var schema: String?
  var name: String
  /// Whether a part was written without quotes; then capitals may stand for small letters.
  var isFoldable: Bool

  /// - Throws: ``DumpError`` where it is not one or two names.
  init(_ text: String) throws {
    var parts: [String] = [""]
    var isQuoted = false
    var hasPlain = false
    var scalars = Substring(text).unicodeScalars
    while let scalar = scalars.popFirst() {
      switch scalar {
      case "\"" where isQuoted && scalars.first == "\"":
        scalars.removeFirst()
        parts[parts.count - 1].unicodeScalars.append(scalar)
      case "\"": isQuoted.toggle()
      case "." where !isQuoted: parts.append("")
      default:
        if !isQuoted { hasPlain = true }
        parts[parts.count - 1].unicodeScalars.append(scalar)
      }
    }
    guard !isQuoted, parts.count <= 2, parts.allSatisfy({ !$0.isEmpty }) else {
      throw DumpError(
        "find table '\(text)': it is not the name of a table",
        hint: "write schema.table, and quote a name that holds a dot or a quote")
    }
    schema = parts.count == 2 ? parts[0] : nil
    name = parts[parts.count - 1]
    isFoldable = hasPlain
  }

  var description: String { schema.map { "\($0).\(name)" } ?? name }

  /// The name with capitals as PostgreSQL takes them where nothing is quoted.
  var folded: TableName {
    var copy = self
    copy.schema = schema?.lowercased()
    copy.name = name.lowercased()
    return copy
  }
}

/// Which entries of an archive belong to some tables.
struct ArchiveSelection {
  let contents: ArchiveContents

  private static let kinds: Set<String> = [
    "TABLE DATA", "MATERIALIZED VIEW DATA", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET",
    "DEFAULT", "CONSTRAINT",
    "CHECK CONSTRAINT", "FK CONSTRAINT", "INDEX", "INDEX ATTACH", "TABLE ATTACH", "TRIGGER", "RULE",
    "POLICY", "ROW SECURITY", "COMMENT", "ACL", "STATISTICS", "SECURITY LABEL", "STATISTICS DATA",
  ]
  /// What belongs to two tables is only taken where both are.
  private static let joint: Set<String> = ["INDEX ATTACH", "TABLE ATTACH"]

  /// The entries of the tables, their partitions, indexes, constraints, triggers and sequences.
  /// - Throws: ``DumpError`` for a table that is not there.
  func entries(of names: [String]) throws -> [ArchiveContents.Entry] {
    var chosen = Set(try names.map { try root(TableName($0)).id })
    let tables = Set(contents.entries.filter { $0.kind == "TABLE" }.map(\.id))
    var count = -1
    while chosen.count != count {
      count = chosen.count
      for entry in contents.entries where entry.kind == "TABLE ATTACH" {
        // Parent and partition, the partition first in some versions.
        let pair = entry.dependencies.filter { tables.contains($0) }
        if let child = child(of: entry, pair),
          pair.contains(where: { $0 != child && chosen.contains($0) })
        {
          chosen.insert(child)
        }
      }
      for entry in contents.entries where belongs(entry, chosen, tables) { chosen.insert(entry.id) }
    }
    return contents.entries.filter { chosen.contains($0.id) }
  }

  /// The partition that an attachment is named after.
  private func child(of attachment: ArchiveContents.Entry, _ pair: [Int]) -> Int? {
    contents.entries.first {
      pair.contains($0.id) && $0.tag == attachment.tag && $0.namespace == attachment.namespace
    }?.id
  }

  private func belongs(
    _ entry: ArchiveContents.Entry, _ chosen: Set<Int>, _ tables: Set<Int>
  ) -> Bool {
    guard Self.kinds.contains(entry.kind), !chosen.contains(entry.id) else { return false }
    let found = entry.dependencies.filter { chosen.contains($0) }
    guard !found.isEmpty else { return false }
    if Self.joint.contains(entry.kind) { return found.count == entry.dependencies.count }
    guard entry.kind == "FK CONSTRAINT" else { return true }
    return contents.entries.contains {
      tables.contains($0.id) && chosen.contains($0.id) && $0.namespace == entry.namespace
        && entry.tag.hasPrefix("\($0.tag) ")
    }
  }

  private func root(_ name: TableName) throws -> ArchiveContents.Entry {
    for candidate in name.isFoldable ? [name, name.folded] : [name] {
      let found = contents.entries.filter { entry in
        ["TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW", "VIEW", "SEQUENCE"].contains(entry.kind)
          && entry.tag == candidate.name
          && (candidate.schema.map { $0 == entry.namespace } ?? true)
      }
      if found.count > 1 {
        throw DumpError(
          "find table '\(name)': there are several, in schemas "
            + found.map(\.namespace).sorted().joined(separator: ", "), hint: "name the schema, too")
      }
      if let only = found.first { return only }
    }
    throw DumpError("find table '\(name)': the dump does not hold it")
  }
}
