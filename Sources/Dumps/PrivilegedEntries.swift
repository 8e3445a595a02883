import PostgresClient

/// What of an archive only a superuser could make anew, and what cannot be without it.
///
/// A restore works as a role that is none. Databases of an attached server, or those that were taken over from one,
/// may hold such objects: they are left out by name, and the rest comes back whole.
///
/// Source: the checks of `superuser()` in PostgreSQL's `commands/`: `event_trigger.c`, `functioncmds.c`,
/// `proclang.c`, `opclasscmds.c`, `typecmds.c`, `aggregatecmds.c`, `foreigncmds.c`, `tsearchcmds.c`, `amcmds.c`,
/// `publicationcmds.c`, `subscriptioncmds.c`, `extension.c`.
struct PrivilegedEntries {
  /// Entries that can be made.
  let kept: [ArchiveContents.Entry]
  /// Entries that cannot, each with the reason.
  let leftOut: [(entry: ArchiveContents.Entry, reason: String)]

  private static let always: Set<String> = [
    "EVENT TRIGGER", "ACCESS METHOD", "FOREIGN DATA WRAPPER", "OPERATOR CLASS", "OPERATOR FAMILY",
    "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "SHELL TYPE", "SUBSCRIPTION",
  ]
  /// Parts of others, of which nobody asks by themselves.
  private static let silent: Set<String> = ["ACL", "COMMENT", "SECURITY LABEL", "DEFAULT ACL"]
  private static let onlySuperusers = "only a superuser can make it"

  init(_ contents: ArchiveContents, _ server: ServerTrust) {
    var reasons: [Int: String] = [:]
    for entry in contents.entries {
      if let reason = Self.reason(entry, server) { reasons[entry.id] = reason }
    }
    let names = Dictionary(
      contents.entries.map { ($0.id, Self.name($0)) }, uniquingKeysWith: { first, _ in first })
    let servers = Dictionary(
      contents.entries.filter { $0.kind == "SERVER" }.map { ($0.tag, $0.id) },
      uniquingKeysWith: { first, _ in first })
    // What depends on it, and so on; entries come after what they need, but for a few.
    var count = -1
    while reasons.count != count {
      count = reasons.count
      for entry in contents.entries where reasons[entry.id] == nil {
        let server = entry.kind == "USER MAPPING" ? Self.server(of: entry, servers) : nil
        let needed = entry.dependencies + (server.map { [$0] } ?? [])
        guard let missing = needed.first(where: { reasons[$0] != nil }) else { continue }
        reasons[entry.id] = "it needs \(names[missing] ?? "what is left out")"
      }
    }
    kept = contents.entries.filter { reasons[$0.id] == nil }
    leftOut = contents.entries.compactMap { entry in reasons[entry.id].map { (entry, $0) } }
  }

  /// One sentence each, for whoever reads a result.
  var notes: [String] {
    leftOut.filter { !Self.silent.contains($0.entry.kind) && $0.entry.kind != "TABLE DATA" }
      .map { "left out: \(Self.name($0.entry)): \($0.reason)" }
  }

  /// Qualified names of tables and sequences that are left out.
  var relations: Set<String> {
    get throws {
      Set(
        try leftOut.filter { ["TABLE", "SEQUENCE", "FOREIGN TABLE"].contains($0.entry.kind) }
          .map {
            "\(try SQL.identifier($0.entry.namespace)).\(try SQL.identifier($0.entry.tag))"
          })
    }
  }

  /// The server of a user mapping, which `pg_dump` names in no dependency, but in the tag: `USER MAPPING … SERVER …`.
  private static func server(
    of entry: ArchiveContents.Entry, _ servers: [String: Int]
  ) -> Int? {
    servers.filter { entry.tag.hasSuffix(" SERVER \($0.key)") }.min { $0.key.count < $1.key.count }?
      .value
  }

  private static func name(_ entry: ArchiveContents.Entry) -> String {
    let place = entry.namespace.isEmpty ? "" : "\(entry.namespace)."
    return "\(entry.kind.lowercased()) '\(place)\(entry.tag)'"
  }

  private static func reason(
    _ entry: ArchiveContents.Entry, _ server: ServerTrust
  ) -> String? {
    if always.contains(entry.kind) { return onlySuperusers }
    switch entry.kind {
    case "EXTENSION": return server.refuses(extension: entry.tag)
    case "PROCEDURAL LANGUAGE" where !isTrusted(entry): return onlySuperusers
    case "FUNCTION", "PROCEDURE":
      guard let language = language(entry.definition) else { return nil }
      return server.untrustedLanguages.contains(language)
        ? "\(onlySuperusers) in language \(language)" : nil
    // Base types and what they begin as; domains, enumerations, composites and ranges are everybody's.
    case "TYPE": return isBaseType(entry.definition) ? onlySuperusers : nil
    case "AGGREGATE":
      return entry.definition.contains("STYPE = internal") ? onlySuperusers : nil
    case "PUBLICATION":
      return entry.definition.contains(" FOR ALL TABLES") ? onlySuperusers : nil
    case "PUBLICATION TABLES IN SCHEMA": return onlySuperusers
    case "CAST": return entry.definition.contains(" WITHOUT FUNCTION") ? onlySuperusers : nil
    default: return nil
    }
  }

  /// `CREATE TRUSTED PROCEDURAL LANGUAGE`, or one that the server knows by itself.
  private static func isTrusted(_ entry: ArchiveContents.Entry) -> Bool {
    entry.definition.contains(" TRUSTED ") || entry.definition.isEmpty
  }

  private static func isBaseType(_ definition: String) -> Bool {
    guard
      let line = definition.split(separator: "\n").first(where: { $0.hasPrefix("CREATE TYPE ") })
    else { return false }
    return line.hasSuffix(" (") && definition.contains("INPUT = ")
  }

  /// As `pg_dump` writes it: on a line of its own, before the body.
  private static func language(_ definition: String) -> String? {
    let mark = "\n    LANGUAGE "
    guard let start = definition.range(of: mark)?.upperBound else { return nil }
    let word = definition[start...].prefix { !$0.isWhitespace && $0 != ";" }
    return String(word).replacing("\"", with: "")
  }
}

/// What an ordinary role may make on a server.
struct ServerTrust {
  var untrustedLanguages: Set<String>
  private var trustedExtensions: Set<String>
  private var availableExtensions: Set<String>
  private var presentExtensions: Set<String> = []

  /// - Parameter presentIsFine: extensions that the database has already need not be made.
  init(_ connection: PostgresConnection, presentIsFine: Bool) throws {
    func names(_ sql: String) throws -> Set<String> {
      Set(try connection.query(sql).rows.compactMap { $0[0] })
    }
    untrustedLanguages = try names("SELECT lanname FROM pg_language WHERE NOT lanpltrusted")
    availableExtensions = try names("SELECT name FROM pg_available_extension_versions")
    trustedExtensions = try names(
      "SELECT name FROM pg_available_extension_versions WHERE trusted OR NOT superuser")
    if presentIsFine { presentExtensions = try names("SELECT extname FROM pg_extension") }
  }

  /// Why an extension cannot be made; `nil` where it can.
  func refuses(extension name: String) -> String? {
    if presentExtensions.contains(name) || trustedExtensions.contains(name) { return nil }
    return availableExtensions.contains(name)
      ? "only a superuser can make it" : "its files are not on this machine"
  }
}
