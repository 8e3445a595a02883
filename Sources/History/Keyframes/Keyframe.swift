import ObjectStorage
import PostgresFormat

/// A place from which replay can start: the page images of a whole cluster at a checkpoint.
public struct Keyframe: Hashable, Sendable {
  /// The line whose volume sealed it.
  public var line: LineID
  public var number: ObjectNumber
  public var timeline: TimelineID
  /// Of the checkpoint record.
  public var checkpointLSN: LSN
  /// Where replay starts.
  public var redoLSN: LSN
  /// Every effect in the image is at or below it; moments from here on can be opened.
  public var consistentLSN: LSN
  public var createdAt: PostgresTimestamp
  public var systemIdentifier: UInt64
  /// The exact server version, such as `15.10`.
  public var postgresVersion: String
  /// What changed since the newest complete layer and is no page of a relation, with the tree; `nil`
  /// where the newest complete layer is this keyframe's own.
  public var partial: LayerReference?
  /// Complete layers, newest first: every block changed up to each group's redo LSN. A child that was opened
  /// without replay goes on with its base's groups.
  public var groups: [LayerGroup]

  /// All groups from which a block is read, newest first. At most 8 layers.
  public var image: [LayerGroup] {
    (partial.map { [LayerGroup(layers: [$0], redoLSN: redoLSN)] } ?? []) + groups
  }
  /// All layers, newest first; the first one holds the tree.
  public var layers: [LayerReference] { image.layers }
  /// Whether replay of the WAL from ``redoLSN`` on is all that the layers lack.
  public var isComplete: Bool { partial == nil && groups.count == 1 }
  /// Where the WAL begins that some block of the image may still need.
  public var oldestRedoLSN: LSN { groups.last?.redoLSN ?? redoLSN }

  /// No page of the image has a higher LSN.
  public var highestPageLSN: LSN { layers.map(\.highestPageLSN).max() ?? .invalid }

  public var key: ObjectKey { LineKeys(line: line).keyframe(number) }
}

/// What a new keyframe's layer holds.
public enum KeyframeKind: Hashable, Sendable {
  /// Every block changed since the newest complete layer.
  case complete
  /// What changed since the newest complete layer and cannot be made from WAL; the rest can.
  case partial
  /// Every block changed since the newest complete layer, and every block of the base that WAL had changed
  /// before the line began: from here on the line needs no WAL from before, and can be replayed.
  case standalone
}

/// What the caller knows about a keyframe that is being made.
public struct KeyframeParameters: Sendable {
  public var timeline: TimelineID
  public var checkpointLSN: LSN
  public var redoLSN: LSN
  public var consistentLSN: LSN
  public var systemIdentifier: UInt64
  public var postgresVersion: String

  public init(
    timeline: TimelineID, checkpointLSN: LSN, redoLSN: LSN, consistentLSN: LSN,
    systemIdentifier: UInt64, postgresVersion: String
  ) {
    self.timeline = timeline
    self.checkpointLSN = checkpointLSN
    self.redoLSN = redoLSN
    self.consistentLSN = consistentLSN
    self.systemIdentifier = systemIdentifier
    self.postgresVersion = postgresVersion
  }
}

extension Keyframe {
  static let partType: UInt8 = 1

  func encode(to writer: inout BinaryWriter) {
    writer.append(string: line.rawValue)
    writer.append(varint: UInt64(number.epoch))
    writer.append(varint: number.sequence)
    writer.append(timeline.rawValue)
    writer.append(checkpointLSN.rawValue)
    writer.append(redoLSN.rawValue)
    writer.append(consistentLSN.rawValue)
    writer.append(createdAt.rawValue)
    writer.append(systemIdentifier)
    writer.append(string: postgresVersion)
    writer.append(UInt8(partial == nil ? 0 : 1))
    partial?.encode(to: &writer)
    groups.encode(to: &writer)
  }

  init(from reader: inout BinaryReader) throws {
    line = try reader.readLineID()
    number = ObjectNumber(
      epoch: try reader.readVarint(as: UInt32.self), sequence: try reader.readVarint())
    timeline = TimelineID(try reader.read())
    checkpointLSN = LSN(try reader.read())
    redoLSN = LSN(try reader.read())
    consistentLSN = LSN(try reader.read())
    createdAt = PostgresTimestamp(try reader.read())
    systemIdentifier = try reader.read()
    postgresVersion = try reader.readString()
    partial = try reader.read(UInt8.self) == 0 ? nil : LayerReference(from: &reader)
    groups = try [LayerGroup](from: &reader)
    guard (1...LayerStack.maximumLayers).contains(layers.count) else {
      throw reader.malformed("1 to \(LayerStack.maximumLayers) layers")
    }
    guard redoLSN <= consistentLSN else { throw reader.malformed("redo before consistency") }
  }

  func encodedObject() throws -> [UInt8] {
    var writer = BinaryWriter()
    encode(to: &writer)
    var envelope = EnvelopeWriter(kind: .keyframe, key: key)
    try envelope.addPart(type: Keyframe.partType, writer.bytes)
    try envelope.finish()
    return envelope.takePending()
  }

  static func read(_ key: ObjectKey, store: any ObjectStore) async throws -> Keyframe {
    let envelope = try await readEnvelope(key, kind: .keyframe, store: store)
    let bytes = try envelope.read(type: partType, name: "keyframe")
    let keyframe = try BinaryReader.decode(bytes, key: key.name, operation: "read keyframe") {
      try Keyframe(from: &$0)
    }
    guard keyframe.key == key else {
      throw HistoryError(
        .wrongObject, operation: "read keyframe", key: key.name,
        detail: "it is '\(keyframe.key)'")
    }
    return keyframe
  }
}
