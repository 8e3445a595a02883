import PostgresFormat
import Volume

/// Directories whose content a server makes anew at every start.
private let directoriesOutsideHistory: Set<Substring> = [
  "pg_wal", "pg_stat_tmp", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans",
]
/// Directories of 8 KiB pages that Postgres writes whole.
private let directoriesOfPages: Set<Substring> = [
  "base", "global", "pg_xact", "pg_multixact", "pg_commit_ts",
]

/// How a volume treats the files of a data directory.
@Sendable func postgresFileClass(_ path: String, _ kind: FileKind) -> FileClass {
  let parts = path.split(separator: "/")
  guard let first = parts.first, let name = parts.last else { return .persistent }
  // The directories themselves belong to the tree that a branch gets; only what is in them does
  // not.
  if directoriesOutsideHistory.contains(first), parts.count > 1 { return .outsideHistory }
  if path == "postmaster.pid" || path == "postmaster.opts" { return .outsideHistory }
  if parts.contains(where: { $0.hasPrefix("pgsql_tmp") }) { return .outsideHistory }
  if path == "global/pg_control" { return FileClass(hasAtomicBlocks: true, isObserved: true) }
  guard kind == .regular, directoriesOfPages.contains(first),
    name.utf8.first.map({ isHexadecimal($0) }) == true, name.utf8.allSatisfy(isPageFileByte)
  else { return .persistent }
  return .atomicBlocks
}

/// As ``postgresFileClass``, and by which number the checksum of a relation's first page is made.
@Sendable func checksumFileClass(_ path: String, _ kind: FileKind) -> FileClass {
  var found = postgresFileClass(path, kind)
  if found.hasAtomicBlocks, case .relation(let relation) = DataFileKind(path: path) {
    found.firstBlock = relation.firstBlock
  }
  return found
}

extension DataChecksum.Verdict {
  /// Whether a page is of one write.
  var isWhole: Bool {
    switch self {
    case .valid, .unused: true
    case .mismatch, .malformed: false
    }
  }
}

private func isHexadecimal(_ byte: UInt8) -> Bool {
  (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte)
}

/// `16384_vm.1`, `00A3`.
private func isPageFileByte(_ byte: UInt8) -> Bool {
  isHexadecimal(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F || byte == 0x2E
}
