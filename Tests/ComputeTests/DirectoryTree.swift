import Foundation
import PostgresFormat
import TestSupport
import Volume

@testable import Compute

/// A data directory on disk as a file tree, and the other way round.
enum DirectoryTree {
  /// The tree of a stopped server's data directory as a keyframe would carry it: without transient
  /// files and WAL, of unlogged relations the init fork only.
  static func read(_ directory: String) throws -> FileTreeSnapshot {
    let root = FileTreeEntry(id: .root, parent: .root, name: "", kind: .directory, mode: 0o700)
    var tree = FileTreeSnapshot(entries: [root], nextFileID: FileID(2))
    var ids = ["": FileID.root]
    for path in try paths(directory) where !path.hasPrefix("pg_wal") {
      var status = stat()
      guard lstat("\(directory)/\(path)", &status) == 0 else { throw missing(path) }
      let isDirectory = status.st_mode & S_IFMT == S_IFDIR
      if !isDirectory, DataFileKind(path: path).isTransient { continue }
      let name = (path as NSString).lastPathComponent
      guard let parent = ids[(path as NSString).deletingLastPathComponent] else { continue }
      let id = tree.nextFileID
      tree.nextFileID = FileID(id.rawValue + 1)
      ids[path] = id
      tree.entries.append(
        FileTreeEntry(
          id: id, parent: parent, name: name, kind: isDirectory ? .directory : .regular,
          mode: UInt16(status.st_mode & 0o777), size: isDirectory ? 0 : UInt64(status.st_size)))
    }
    let unlogged = unloggedMains(of: relations(of: tree))
    return removing(from: tree) { path, _ in unlogged.contains(path) }
  }

  /// Sizes of relation files by path, in the directory as it is.
  static func relations(in directory: String) throws -> [String: UInt64] {
    relations(of: try read(directory))
  }

  /// Sizes of relation files by path.
  static func relations(of tree: FileTreeSnapshot) -> [String: UInt64] {
    let paths = Dictionary(uniqueKeysWithValues: tree.entries.map { ($0.id, $0) })
    var found: [String: UInt64] = [:]
    for entry in tree.entries where entry.kind == .regular {
      let path = path(of: entry, paths)
      if case .relation(let file) = DataFileKind(path: path), file.temporaryBackend == nil {
        found[path] = entry.size
      }
    }
    return found
  }

  static func path(of entry: FileTreeEntry, _ entries: [FileID: FileTreeEntry]) -> String {
    var names: [String] = []
    var current = entry
    while current.id != .root {
      names.append(current.name)
      guard let parent = entries[current.parent] else { return "?/\(entry.name)" }
      current = parent
    }
    return names.reversed().joined(separator: "/")
  }

  /// Gives the directory the relation files that `tree` has, in their sizes; contents beyond what is
  /// there are zeros. Files of other kinds stay as they are; new directories are made.
  static func apply(_ tree: FileTreeSnapshot, to directory: String) throws {
    let manager = FileManager.default
    let wanted = relations(of: tree)
    let entries = Dictionary(uniqueKeysWithValues: tree.entries.map { ($0.id, $0) })
    var kept: Set<String> = []
    for entry in tree.entries where entry.kind == .directory && entry.id != .root {
      let path = path(of: entry, entries)
      kept.insert(path)
      try manager.createDirectory(
        atPath: "\(directory)/\(path)", withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o700])
    }
    for path in try relations(in: directory).keys where wanted[path] == nil {
      try manager.removeItem(atPath: "\(directory)/\(path)")
    }
    for path in try paths(directory)
    where path.hasPrefix("base/") && path.split(separator: "/").count == 2 && !kept.contains(path) {
      try manager.removeItem(atPath: "\(directory)/\(path)")
    }
    for (path, size) in wanted {
      let descriptor = open("\(directory)/\(path)", O_CREAT | O_RDWR, 0o600)
      guard descriptor >= 0, ftruncate(descriptor, off_t(size)) == 0 else { throw missing(path) }
      close(descriptor)
    }
  }

  /// Files of relations that have an init fork, but for that fork.
  private static func unloggedMains(of files: [String: UInt64]) -> Set<String> {
    let parsed = files.keys.compactMap { path -> (String, RelationFile)? in
      guard case .relation(let file) = DataFileKind(path: path) else { return nil }
      return (path, file)
    }
    let unlogged = Set(parsed.filter { $0.1.fork == .initialization }.map { $0.1.locator })
    return Set(
      parsed.filter { $0.1.fork != .initialization && unlogged.contains($0.1.locator) }.map { $0.0 }
    )
  }

  private static func paths(_ directory: String) throws -> [String] {
    guard let walk = FileManager.default.enumerator(atPath: directory) else {
      throw missing(directory)
    }
    return walk.compactMap { $0 as? String }.sorted()
  }

  private static func missing(_ path: String) -> CommandFailure {
    CommandFailure(description: "read \(path): \(String(cString: strerror(errno)))")
  }
}
