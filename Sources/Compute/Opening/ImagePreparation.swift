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

  func controlFile() throws -> ControlFile {
    try ControlFile(volume.readFile("global/pg_control"), major: major)
  }
}
