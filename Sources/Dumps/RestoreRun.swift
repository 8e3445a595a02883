import APITypes
import ControlPlane
import DurableIO
import Foundation
import ObjectStorage
import PostgresClient

/// One restore of a dump into a database of a running compute; blocks its thread.
///
/// One that was there is changed by one transaction or not at all; one that was made for it is removed by
/// ``RestoreAttempt`` where it fails.
struct RestoreRun {
  let tools: PostgresDumpTools
  let order: RestoreOrder
  let compute: RunningCompute
  let manifest: StoredManifest
  let store: any ObjectStore
  let directory: String

  /// Kinds that may fail where only some tables are restored: what they refer to may be missing.
  static func mayFail(_ entry: ArchiveContents.Entry) -> Bool {
    ["FK CONSTRAINT", "TRIGGER", "POLICY"].contains(entry.kind)
  }

  /// - Parameter role: owns what is restored until its owners get it; made here, removed by the caller.
  /// - Returns: what the user should know; all is committed then.
  func run(as role: RestoreRole) throws -> [String] {
    let archive = try extract()
    let contents = try manifest.format == .plain ? nil : Self.contents(archive, manifest.format)
    let wanted = try contents.map { contents in
      try order.tables.map { try ArchiveSelection(contents: contents).entries(of: $0) }
        ?? contents.entries
    }
    let cluster = try tools.connect(compute, "postgres")
    defer { cluster.close() }
    try role.take(cluster)
    let place = RestorePlace(order: order, source: manifest.source, cluster: cluster)
    let properties = order.tables == nil ? manifest.source.properties : nil
    let needed = RestorePlace.roles(manifest.source.roles, wanted)
    let made = MadeDatabase(role: role, name: order.database, cluster: cluster)
    let named = try made.isThere ? [] : properties?.roles ?? []
    var notes = try place.makeRoles(needed + Set(named).subtracting(needed).sorted())
    try role.make(cluster)
    let isNew = try place.makeDatabase(for: role)
    let connection = try tools.connect(compute, order.database)
    defer { connection.close() }
    let entries = try permitted(wanted, of: contents, connection, &notes)
    if !isNew { try place.check(connection, entries) }
    return try notes
      + restore(
        archive, entries, connection, role, isNew || made.isMade ? properties : nil)
  }

  /// What a role that is no superuser can make of the entries; the rest is noted.
  private func permitted(
    _ wanted: [ArchiveContents.Entry]?, of contents: ArchiveContents?,
    _ connection: PostgresConnection, _ notes: inout [String]
  ) throws -> [ArchiveContents.Entry]? {
    guard let wanted, let contents else { return nil }
    let privileged = PrivilegedEntries(
      contents, try ServerTrust(connection, presentIsFine: true))
    guard order.tables != nil else {
      notes += privileged.notes
      return privileged.kept
    }
    let ids = Set(wanted.map(\.id))
    let missing = privileged.leftOut.filter { ids.contains($0.entry.id) }
    if let table = missing.first(where: { $0.entry.kind == "TABLE" }) {
      throw DumpError(
        "restore table '\(table.entry.namespace).\(table.entry.tag)': \(table.reason)",
        hint: "a superuser of a server of your own can restore it: 'exzo dumps download'")
    }
    notes += missing.map {
      "left out: \($0.entry.kind.lowercased()) '\($0.entry.tag)': \($0.reason)"
    }
    let gone = Set(missing.map(\.entry.id))
    return wanted.filter { !gone.contains($0.id) }
  }

  private func restore(
    _ archive: String, _ entries: [ArchiveContents.Entry]?, _ connection: PostgresConnection,
    _ role: RestoreRole, _ properties: DatabaseProperties?
  ) throws -> [String] {
    let script = try RestoreScript(
      binaries: tools.binaries, prefix: try tools.identityPrefix(order.project),
      scratch: directory,
      connection: tools.connectionString(compute, order.database, user: role.name),
      password: role.password, key: role.password)
    defer { script.abandon() }
    if let entries {
      try write(entries, of: archive, script, connection)
    } else {
      try copy(archive, to: script)
    }
    try properties?.write(
      to: script, database: order.database, owner: try Self.owner(of: connection))
    try script.write(RestoreRole.marking)
    return try commit(script)
  }

  private func commit(_ script: RestoreScript) throws -> [String] {
    do {
      return try script.commit()
    } catch var error as DumpError
      where manifest.format == .plain && error.message.contains("superuser")
    {
      error.hint =
        "plain SQL is restored whole or not at all; a dump of format 'custom' leaves out, by name, what only a "
        + "superuser can make"
      throw error
    } catch var error as DumpError
      where manifest.format == .plain && error.message.contains("permission denied for schema")
    {
      error.hint =
        "plain SQL cannot be given to an owner who may not create in its schema; "
        + "a dump of format 'custom' can"
      throw error
    } catch var error as DumpError
      where manifest.format == .plain && error.hint == nil && !error.isTemporary
    {
      error.hint =
        "plain SQL is restored as it stands, by a role that is no superuser, whole or not at all; "
        + "a dump of format 'custom' is restored entry by entry"
      throw error
    }
  }

  private func write(
    _ entries: [ArchiveContents.Entry], of archive: String, _ script: RestoreScript,
    _ connection: PostgresConnection
  ) throws {
    let grants = try SchemaGrants(entries, owner: try Self.owner(of: connection), connection)
    let attempted =
      order.tables == nil ? [] : entries.filter { Self.mayFail($0) }
    let attempts = Set(attempted.map(\.id))
    for schema in grants.missing {
      try script.write("CREATE SCHEMA \(try SQL.identifier(schema));\n")
    }
    try script.writeInOrder(entries.filter { !attempts.contains($0.id) }, of: archive, grants)
    try script.attempt(attempted)
  }

  private func copy(_ archive: String, to script: RestoreScript) throws {
    let data = try Data(contentsOf: URL(fileURLWithPath: archive), options: .alwaysMapped)
    try data.withUnsafeBytes { bytes in
      try PlainScript.withoutTransactions(bytes) { try script.write($0) }
    }
  }

  static func owner(of connection: PostgresConnection) throws -> String {
    let row = try connection.query(
      """
      SELECT r.rolname FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
      WHERE d.datname = current_database()
      """
    ).first
    guard let row else { throw DumpError("read a database's owner: the server answered nothing") }
    return try row.value("rolname")
  }

  static func contents(_ archive: String, _ format: API.DumpFormat) throws -> ArchiveContents {
    let path = format == .directory ? "\(archive)/toc.dat" : archive
    let data = try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)
    return try ArchiveContents([UInt8](data.prefix(contentsLimit)), path: path)
  }

  /// A head of more bytes than this is not read.
  private static let contentsLimit = 512 << 20

  // MARK: the archive on local disk

  private func extract() throws -> String {
    let files = SystemFileSystem()
    let needed = UInt64(manifest.packs.reduce(0) { $0 + $1.size })
    let free = try files.freeBytes(directory, operation: "look for room")
    guard free > needed + needed / 20 else {
      throw DumpError(
        "restore dump '\(order.dump)': it takes \(needed) bytes of local disk, \(free) are free",
        hint: "make room on the disk of the data directory", isTemporary: true)
    }
    let root = "\(directory)/archive"
    if manifest.format == .directory {
      try files.makeDirectory(root, operation: "unpack dump")
    }
    for file in manifest.files {
      // Names are pg_dump's own; a manifest that says otherwise does not reach other places.
      guard !file.name.contains("/"), file.name != ".." else {
        throw DumpError("restore dump '\(order.dump)': its manifest names a file '\(file.name)'")
      }
      let path = manifest.format == .directory ? "\(root)/\(file.name)" : root
      try extract(file, to: path, files)
    }
    return root
  }

  private func extract(
    _ file: StoredManifest.File, to path: String, _ files: SystemFileSystem
  ) throws {
    var single = manifest
    single.format = .custom
    single.files = [file]
    let stored = StoredDumpFile(single, dump: order.dump, directory: "", store: store)
    let target = try files.open(path, .createNew, operation: "unpack dump")
    defer { target.close() }
    var offset = 0
    while offset < stored.size {
      let position = offset
      let bytes = try waitFor { try await stored.read(from: position, to: stored.size) }
      try bytes.withUnsafeBytes {
        try target.write($0, at: UInt64(position), operation: "unpack dump")
      }
      offset += bytes.count
    }
  }
}
