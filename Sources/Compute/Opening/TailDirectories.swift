import PostgresFormat
import Volume

/// The directories of databases while a tail is read.
struct TailDirectories {
  /// Of the image.
  private(set) var byFileID: [FileID: DatabaseDirectory] = [:]
  private var known: [DatabaseDirectory: FileID] = [:]
  /// Where a new directory's parent is: `base`, or a version's directory of a tablespace.
  private var parents: [UInt32: FileID] = [:]
  /// Made in the tail and still there, with the record that made them.
  private(set) var made: [DatabaseDirectory: LSN] = [:]
  private var dropped: Set<DatabaseDirectory> = []

  init(image: FileTreeSnapshot, format: PostgresMajor) {
    let directories = image.entries.filter { $0.kind == .directory }
    let root = directories.filter { $0.parent == .root && $0.id != .root }
    for entry in root where entry.name == "global" { add(.shared, entry.id) }
    for base in root where base.name == "base" {
      addDatabases(in: base.id, tablespace: PostgresLayout.defaultTablespace, directories)
    }
    guard let tablespaces = root.first(where: { $0.name == "pg_tblspc" })?.id else { return }
    for tablespace in directories where tablespace.parent == tablespaces {
      guard let number = UInt32(tablespace.name),
        let version = directories.first(where: {
          $0.parent == tablespace.id && $0.name == format.format.tablespaceDirectory
        })
      else { continue }
      addDatabases(in: version.id, tablespace: number, directories)
    }
  }

  private mutating func addDatabases(
    in parent: FileID, tablespace: UInt32, _ directories: [FileTreeEntry]
  ) {
    parents[tablespace] = parent
    for entry in directories where entry.parent == parent {
      guard let database = UInt32(entry.name) else { continue }
      add(DatabaseDirectory(tablespace: tablespace, database: database), entry.id)
    }
  }

  private mutating func add(_ directory: DatabaseDirectory, _ id: FileID) {
    byFileID[id] = directory
    known[directory] = id
  }

  /// Whether the directory is there or its parent is.
  func canMake(_ directory: DatabaseDirectory) -> Bool {
    known[directory] != nil || parents[directory.tablespace] != nil
  }

  /// Where the directory is already, nothing happens.
  mutating func make(_ directory: DatabaseDirectory, at lsn: LSN) {
    let isThere = known[directory] != nil && !dropped.contains(directory)
    if !isThere, made[directory] == nil { made[directory] = lsn }
  }

  mutating func drop(_ directory: DatabaseDirectory) {
    made[directory] = nil
    dropped.insert(directory)
  }

  /// The first record that made a directory which the tail had dropped before.
  var firstMadeAgain: LSN? { made.filter { dropped.contains($0.key) }.values.min() }

  /// The image's directories that the tail drops.
  var droppedIDs: Set<FileID> { Set(dropped.compactMap { known[$0] }) }

  func fileID(of directory: DatabaseDirectory) -> FileID? { known[directory] }
  func parent(of directory: DatabaseDirectory) -> FileID? { parents[directory.tablespace] }
}
