import History
import PostgresFormat
import Volume

/// Changes that the image of a keyframe needs before a server starts on it.
struct ImagePreparation {
  let volume: Volume
  let major: PostgresMajor

  /// Makes the image one of a server that lost power, under an identity of its own.
  ///
  /// `DB_IN_PRODUCTION` even after a clean shutdown or an end-of-recovery checkpoint: with
  /// `SHUTDOWNED` the
  /// server would not replay what follows, and later commits would vanish without a word.
  /// - Returns: the control file as patched.
  func patchControlFile(systemIdentifier: UInt64) throws -> ControlFile {
    var control = try controlFile()
    // Of a standby's image also what tells of its recovery.
    control.restart(
      checkpoint: control.checkpointLSN, redo: control.checkpoint.redo,
      timeline: control.checkpoint.timeline)
    control.systemIdentifier = systemIdentifier
    try volume.writeFile("global/pg_control", control.bytes)
    return control
  }

  /// Removes what relations that the tail makes unlogged have beside their init fork.
  ///
  /// PostgreSQL makes an unlogged relation's main fork first and logs the init fork alone. An image
  /// cut between the two holds a main fork that the start of recovery does not know as one to reset
  /// (`ResetUnloggedRelations` in `storage/file/reinit.c`), and its end refuses to copy the init
  /// fork over it.
  func removeForks(of unlogged: Set<RelFileLocator>, in tree: FileTreeSnapshot) throws {
    guard !unlogged.isEmpty else { return }
    let paths = TreePaths(tree)
    for entry in tree.entries where entry.kind == .regular {
      let path = paths.path(of: entry)
      if case .relation(let file) = DataFileKind(path: path),
        file.fork != .initialization, unlogged.contains(file.locator)
      {
        try volume.removeAll(path)
      }
    }
  }

  func controlFile() throws -> ControlFile {
    try ControlFile(volume.readFile("global/pg_control"), major: major)
  }
}
