import DurableIO
import Foundation
import PostgresFormat
import Volume

/// Takes a base backup as it comes, and keeps of it what is the cluster.
///
/// What the server's administrator has put beside the cluster (configuration, keys, logs) stays away: none of
/// it may steer a server here. `pg_wal` becomes the link that every volume has.
struct BackupReceiver {
  private let directory: String
  private let fileSystem: any FileSystem
  private var archive = ArchiveReader()
  private var entries: [FileTreeEntry] = []
  private var directories: [String: FileID] = ["": .root]
  private var next: UInt64 = FileID.root.rawValue + 1
  /// Where the present file's bytes go.
  private var sink: Sink = .nowhere
  private var label: [UInt8] = []
  private(set) var receivedBytes = 0
  /// Files that were not taken.
  private(set) var leftOut = 0

  private enum Sink {
    case nowhere
    case label
    case file(any OpenFile, at: UInt64)
  }

  private static let top: Set<String> = [
    "PG_VERSION", "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact",
    "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp",
    "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_xact",
  ]
  /// Of a label file.
  private static let labelLimit = 64 << 10

  /// - Parameter directory: empty.
  init(directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = directory
    self.fileSystem = fileSystem
    entries = [FileTreeEntry(id: .root, parent: .root, name: "", kind: .directory, mode: 0o700)]
  }

  mutating func receive(_ bytes: UnsafeRawBufferPointer) throws {
    receivedBytes += bytes.count
    var archive = archive
    defer { self.archive = archive }
    try archive.feed(bytes) { event in
      switch event {
      case .begins(let entry): try begin(entry)
      case .bytes(let part): try write(part)
      }
    }
  }

  private mutating func begin(_ entry: ArchiveEntry) throws {
    if case .file(let file, _) = sink { file.close() }
    sink = .nowhere
    if entry.path == "backup_label" {
      sink = .label
      return
    }
    let parts = entry.path.split(separator: "/", omittingEmptySubsequences: false)
    guard !parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." || $0.utf8.count > 255 })
    else { throw refused(entry, "its name leads elsewhere") }
    guard let top = parts.first.map(String.init), Self.top.contains(top) else {
      if entry.kind == .file { leftOut += 1 }
      return
    }
    switch entry.kind {
    case .link:
      throw refused(entry, "it is a link; tablespaces outside the data directory are not supported")
    case .directory:
      guard !staysBehind(path: entry.path, kind: .directory) else { return }
      _ = try makeDirectory(parts[...], mode: entry.mode)
    case .file: try beginFile(entry, parts)
    }
  }

  private mutating func beginFile(_ entry: ArchiveEntry, _ parts: [Substring]) throws {
    guard !staysBehind(path: entry.path, kind: .regular),
      !fileClass(path: entry.path, kind: .regular).isOutsideHistory
    else { return }
    guard parts.first != "pg_replslot" else { return }
    let parent = try makeDirectory(parts.dropLast(), mode: 0o700)
    let made = add(parts.last.map(String.init) ?? "", in: parent, .regular, entry)
    let file = try fileSystem.open(
      BackupImage.path(directory, made), .createNew, operation: "receive the source's backup")
    sink = .file(file, at: 0)
  }

  private mutating func write(_ bytes: UnsafeRawBufferPointer) throws {
    switch sink {
    case .nowhere: return
    case .label:
      guard label.count + bytes.count <= Self.labelLimit else {
        throw ComputeError(.environment, "read the source's backup: its label is too long")
      }
      label.append(contentsOf: bytes)
    case .file(let file, let offset):
      try file.write(bytes, at: offset, operation: "receive the source's backup")
      sink = .file(file, at: offset + UInt64(bytes.count))
    }
  }

  private mutating func add(
    _ name: String, in parent: FileID, _ kind: FileKind, _ entry: ArchiveEntry
  ) -> FileID {
    let id = FileID(next)
    next += 1
    entries.append(
      FileTreeEntry(
        id: id, parent: parent, name: name, kind: kind, mode: entry.mode, size: entry.size,
        modified: entry.modified * 1_000_000_000))
    return id
  }

  /// The directory of a path, made with those above it where it has not come yet.
  private mutating func makeDirectory(_ parts: ArraySlice<Substring>, mode: UInt16) throws -> FileID
  {
    var (path, parent) = ("", FileID.root)
    for part in parts {
      path = path.isEmpty ? String(part) : "\(path)/\(part)"
      if let known = directories[path] {
        parent = known
        continue
      }
      parent = add(
        String(part), in: parent, .directory,
        ArchiveEntry(path: path, kind: .directory, mode: mode, size: 0, modified: 0))
      directories[path] = parent
    }
    return parent
  }

  private func refused(_ entry: ArchiveEntry, _ why: String) -> ComputeError {
    ComputeError(.environment, "read the source's backup: '\(entry.path.prefix(200))': \(why)")
  }

  // MARK: The end

  /// Ends the copy: patches the control file to the backup's start, adds the configuration.
  /// - Returns: the image, its control file as patched, and where replay starts.
  mutating func finish(
    settings: [String: String], major: PostgresMajor
  ) throws -> (image: BackupImage, control: ControlFile) {
    if case .file(let file, _) = sink { file.close() }
    sink = .nowhere
    guard archive.isWhole else {
      throw ComputeError(.environment, "read the source's backup: it breaks off within a file")
    }
    let start = try BackupLabel(label)
    let control = try patchControl(start, major)
    let text = settings.sorted { $0.key < $1.key }
      .map { "\($0.key) = '\($0.value.replacingOccurrences(of: "'", with: "''"))'\n" }.joined()
    try put("postgresql.conf", Array(text.utf8))
    entries.append(
      FileTreeEntry(
        id: FileID(next), parent: .root, name: "pg_wal", kind: .symbolicLink, mode: 0o777,
        size: UInt64(LineDirectory.walLinkTarget.utf8.count), target: LineDirectory.walLinkTarget))
    next += 1
    let image = BackupImage(
      directory: directory, tree: FileTreeSnapshot(entries: entries, nextFileID: FileID(next)),
      fileSystem: fileSystem)
    return (image, control)
  }

  private mutating func put(_ name: String, _ bytes: [UInt8]) throws {
    let id = add(
      name, in: .root, .regular,
      ArchiveEntry(
        path: name, kind: .file, mode: 0o600, size: UInt64(bytes.count),
        modified: Int64(Date().timeIntervalSince1970)))
    let file = try fileSystem.open(
      BackupImage.path(directory, id), .createNew, operation: "receive the source's backup")
    defer { file.close() }
    try bytes.withUnsafeBytes {
      try file.write($0, at: 0, operation: "receive the source's backup")
    }
  }

  private func patchControl(_ label: BackupLabel, _ major: PostgresMajor) throws -> ControlFile {
    let global = directories["global"]
    guard let entry = entries.first(where: { $0.name == "pg_control" && $0.parent == global })
    else {
      throw ComputeError(.environment, "read the source's backup: it has no pg_control")
    }
    let file = try fileSystem.open(
      BackupImage.path(directory, entry.id), .readWrite, operation: "patch the backup's pg_control")
    defer { file.close() }
    var bytes = [UInt8](repeating: 0, count: Int(min(entry.size, 65_536)))
    let count = try bytes.withUnsafeMutableBytes {
      try file.read(into: $0, at: 0, operation: "patch the backup's pg_control")
    }
    var control = try ControlFile(Array(bytes[..<count]), major: major)
    control.restart(
      checkpoint: label.checkpointLSN, redo: label.redoLSN, timeline: label.timeline)
    try control.bytes.withUnsafeBytes {
      try file.write($0, at: 0, operation: "patch the backup's pg_control")
    }
    return control
  }
}

/// What a backup's label file says. Source: `do_pg_backup_start` in `access/transam/xlog.c`.
struct BackupLabel: Equatable {
  var redoLSN: LSN
  var checkpointLSN: LSN
  var timeline: TimelineID

  /// - Throws: ``ComputeError`` where a line is missing, or the backup is not of a primary.
  init(_ bytes: [UInt8]) throws {
    var values: [String: String] = [:]
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      values[String(line[..<colon])] = line[line.index(after: colon)...]
        .trimmingCharacters(in: .whitespaces)
    }
    func position(_ name: String) throws -> LSN {
      let text = values[name]?.split(separator: " ").first.map(String.init)
      guard let lsn = text.flatMap({ LSN($0) }) else {
        throw ComputeError(.environment, "read the source's backup: its label has no '\(name)'")
      }
      return lsn
    }
    redoLSN = try position("START WAL LOCATION")
    checkpointLSN = try position("CHECKPOINT LOCATION")
    guard let number = values["START TIMELINE"].flatMap({ UInt32($0) }) else {
      throw ComputeError(.environment, "read the source's backup: its label has no timeline")
    }
    timeline = TimelineID(number)
    guard values["BACKUP FROM"] == "primary" else {
      throw ComputeError(.environment, "read the source's backup: it is of a standby")
    }
  }
}
