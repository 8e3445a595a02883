/// A file's identity within a volume and everything opened from it. Never reused along a chain of
/// layers: a branch's volume goes on counting where the keyframe it was opened from stood.
public struct FileID: RawRepresentable, Hashable, Comparable, Codable, Sendable {
  public var rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }
  public static func < (a: FileID, b: FileID) -> Bool { a.rawValue < b.rawValue }
  /// The top of the tree; also FUSE's root inode number.
  public static let root = FileID(1)
}

/// What a file is.
public enum FileKind: UInt8, Codable, Sendable {
  case regular = 1
  case directory = 2
  case symbolicLink = 3
}

/// One file of a tree as a layer, a snapshot or a base view carries it.
public struct FileTreeEntry: Hashable, Sendable {
  public var id: FileID
  /// The root is its own parent and has an empty name.
  public var parent: FileID
  public var name: String
  public var kind: FileKind
  /// Permission bits only.
  public var mode: UInt16
  /// Bytes; the target's length for a symbolic link, 0 for a directory.
  public var size: UInt64
  /// Nanoseconds since 1970.
  public var modified: Int64
  /// Target of a symbolic link, else empty.
  public var target: String

  public init(
    id: FileID, parent: FileID, name: String, kind: FileKind, mode: UInt16, size: UInt64 = 0,
    modified: Int64 = 0, target: String = ""
  ) {
    self.id = id
    self.parent = parent
    self.name = name
    self.kind = kind
    self.mode = mode
    self.size = size
    self.modified = modified
    self.target = target
  }
}

/// A whole tree at one moment, and the next identity to give out.
public struct FileTreeSnapshot: Hashable, Sendable {
  public var entries: [FileTreeEntry]
  public var nextFileID: FileID

  public init(entries: [FileTreeEntry], nextFileID: FileID) {
    self.entries = entries
    self.nextFileID = nextFileID
  }
}
