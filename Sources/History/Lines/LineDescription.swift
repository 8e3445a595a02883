import ObjectStorage
import PostgresFormat
import Volume

/// What a line is; written once, when it is created.
public struct LineDescription: Hashable, Sendable {
  public var id: LineID
  /// The project that the line belongs to; opaque here.
  public var project: String
  /// Where the line's history goes on to the past; `nil` for a root.
  public var parent: LineOrigin?
  /// The line's own WAL begins here; a child's begins at its branch point.
  public var startLSN: LSN
  public var timeline: TimelineID
  public var systemIdentifier: UInt64
  /// PostgreSQL's major version.
  public var major: Int
  /// The exact server version at creation.
  public var serverVersion: String
  /// Bytes in a WAL segment.
  public var segmentSize: UInt32
  public var createdAt: PostgresTimestamp
  /// The role with OID 10, where it is not the platform's: on a line that follows a server elsewhere, and on those
  /// that go on from it, where it may still have its name.
  public var bootstrapRole: String?

  public init(
    id: LineID, project: String, parent: LineOrigin? = nil, startLSN: LSN, timeline: TimelineID,
    systemIdentifier: UInt64, major: Int, serverVersion: String,
    segmentSize: UInt32 = 16 << 20, createdAt: PostgresTimestamp, bootstrapRole: String? = nil
  ) {
    self.bootstrapRole = bootstrapRole
    self.id = id
    self.project = project
    self.parent = parent
    self.startLSN = startLSN
    self.timeline = timeline
    self.systemIdentifier = systemIdentifier
    self.major = major
    self.serverVersion = serverVersion
    self.segmentSize = segmentSize
    self.createdAt = createdAt
  }
}

/// Where a line left its parent.
public struct LineOrigin: Hashable, Sendable {
  public var line: LineID
  /// The moment that was opened: the end of a whole record.
  public var branchLSN: LSN
  /// The image that the child's volume was opened from, newest group first.
  public var base: [LayerGroup]
  /// The tree at ``branchLSN`` where the moment was opened without replay: each block of the base is
  /// brought to ``branchLSN`` when it is read. `nil` where the child's server replayed the tail into its
  /// own volume: then the base is one group, and the child's own layers go on top of it.
  public var tree: FileTreeSnapshot?

  public init(
    line: LineID, branchLSN: LSN, base: [LayerGroup], tree: FileTreeSnapshot? = nil
  ) {
    precondition(tree != nil || base.count == 1, "an image of several groups needs redo")
    self.line = line
    self.branchLSN = branchLSN
    self.base = base
    self.tree = tree
  }

  /// Whether blocks of the base still need WAL up to ``branchLSN``.
  public var isLazy: Bool { tree != nil }
}

extension LineDescription {
  static let partType: UInt8 = 1
  static let treePartType: UInt8 = 2
  static let rolePartType: UInt8 = 3

  func encodedObject() throws -> [UInt8] {
    var writer = BinaryWriter()
    writer.append(string: id.rawValue)
    writer.append(string: project)
    writer.append(startLSN.rawValue)
    writer.append(timeline.rawValue)
    writer.append(systemIdentifier)
    writer.append(UInt16(major))
    writer.append(string: serverVersion)
    writer.append(segmentSize)
    writer.append(createdAt.rawValue)
    writer.append(UInt8(parent == nil ? 0 : 1))
    if let parent {
      writer.append(string: parent.line.rawValue)
      writer.append(parent.branchLSN.rawValue)
      writer.append(UInt8(parent.isLazy ? 1 : 0))
      parent.base.encode(to: &writer)
    }
    var envelope = EnvelopeWriter(kind: .line, key: LineKeys(line: id).description)
    try envelope.addPart(type: LineDescription.partType, writer.bytes)
    if let tree = parent?.tree {
      try envelope.addPart(type: LineDescription.treePartType, tree.encoded)
    }
    if let bootstrapRole {
      try envelope.addPart(type: LineDescription.rolePartType, Array(bootstrapRole.utf8))
    }
    try envelope.finish()
    return envelope.takePending()
  }

  static func read(_ line: LineID, store: any ObjectStore) async throws -> LineDescription {
    let key = LineKeys(line: line).description
    let envelope: EnvelopeReader
    do {
      envelope = try await readEnvelope(key, kind: .line, store: store)
    } catch let error as HistoryError where error.code == .missing {
      throw HistoryError(
        .unknownLine, operation: "open line", key: key.name, cause: error.cause)
    }
    let bytes = try envelope.read(type: partType, name: "description")
    var description = try BinaryReader.decode(
      bytes, key: key.name, operation: "read description of"
    ) {
      try LineDescription(from: &$0, line: line) {
        try FileTreeSnapshot(
          encoded: envelope.read(type: treePartType, name: "tree"), key: key.name)
      }
    }
    if let role = envelope.directory.first(type: rolePartType) {
      description.bootstrapRole = String(decoding: try envelope.read(role), as: UTF8.self)
    }
    return description
  }

  private init(
    from reader: inout BinaryReader, line: LineID, readTree: () throws -> FileTreeSnapshot
  ) throws {
    let id = try reader.readLineID()
    guard id == line else { throw reader.malformed("line \(line)") }
    self.init(
      id: id, project: try reader.readString(), startLSN: LSN(try reader.read()),
      timeline: TimelineID(try reader.read()), systemIdentifier: try reader.read(),
      major: Int(try reader.read(UInt16.self)), serverVersion: try reader.readString(),
      segmentSize: try reader.read(), createdAt: PostgresTimestamp(try reader.read()))
    guard try reader.read(UInt8.self) != 0 else { return }
    let parentID = try reader.readLineID()
    let branchLSN = LSN(try reader.read())
    let isLazy = try reader.read(UInt8.self) != 0
    let base = try [LayerGroup](from: &reader)
    guard isLazy || base.count == 1 else { throw reader.malformed("a base of one group") }
    parent = LineOrigin(
      line: parentID, branchLSN: branchLSN, base: base, tree: isLazy ? try readTree() : nil)
  }
}
