/// Everything a volume holds in memory: the tree, the epochs' indexes, what is local.
///
/// *Purpose.* One place that says what a log record does, used by live calls and by replay alike.
/// *Concurrency.* Guarded by ``Volume``'s state lock.
final class VolumeState {
  var nodes: [FileID: Node] = [:]
  var nextFileID = FileID(2)
  var current: Epoch
  /// Sealed and not yet destaged, oldest first.
  var sealed: [Epoch] = []
  /// Sealed and either not destaged or not forgotten, oldest first; a superset of `sealed`.
  var retained: [Epoch] = []
  /// Only for files that came from the base view; `nil` for a root volume. One of an unlinked file stays while
  /// a sealed epoch has the file: its blocks can still be asked for.
  var locals: [FileID: LocalBlocks]?
  /// Open handles and the files they are of.
  var handles: [UInt64: FileID] = [:]
  var nextHandle: UInt64 = 1
  /// Unlinked files whose backing file goes once they are no longer open.
  var pendingRemovals: [FileID] = []
  private let classification: FileClassification

  init(tree: FileTreeSnapshot, epoch: Epoch, classification: @escaping FileClassification) {
    current = epoch
    nextFileID = tree.nextFileID
    self.classification = classification
    nodes.reserveCapacity(tree.entries.count * 5 / 4)
    for entry in tree.entries {
      let node = Node(
        id: entry.id, kind: entry.kind, parent: entry.parent, name: entry.name, mode: entry.mode,
        modified: entry.modified, target: entry.target)
      if entry.kind == .regular { node.size = entry.size }
      nodes[entry.id] = node
    }
    for entry in tree.entries where entry.id != .root {
      nodes[entry.parent]?.directory?.insert(entry.name, entry.id)
    }
  }

  /// Does what a record says.
  ///
  /// - Parameters:
  ///   - payload: the record's; its bytes are not kept.
  ///   - segment: where the payload lies in the log, at `offset`; for blocks.
  /// - Throws: ``VolumeError`` `.damaged` where the record contradicts the tree: only when
  /// replaying.
  func apply(
    _ record: LogRecord, payload: UnsafeRawBufferPointer, segment: LogSegment, offset: UInt64
  ) throws {
    switch record.kind {
    case .write, .truncate: try applyContent(record, segment, offset)
    case .create: try applyCreate(record, payload)
    case .remove: try applyRemove(record, payload)
    case .rename: try applyRename(record, payload)
    case .setAttributes:
      guard let node = nodes[record.file] else {
        if record.isOrphan { return }
        throw contradiction(record)
      }
      if record.second & 1 << 16 != 0 { node.mode = UInt16(record.second & 0o7777) }
      if record.second & 1 << 17 != 0 { node.modified = record.modified }
    case .seal: nextFileID = max(nextFileID, FileID(record.second))
    case .confirm: nodes[record.file]?.isProvisional = false
    case .retract: break
    case .forget: retained.first { $0.number == record.argument }?.isForgotten = true
    }
  }

  private func applyContent(
    _ record: LogRecord, _ segment: LogSegment, _ offset: UInt64
  ) throws {
    guard let node = nodes[record.file] else {
      if record.isOrphan { return }
      throw contradiction(record)
    }
    let blocks = record.payloadSize / blockSize
    guard node.kind == .regular, record.payloadSize % blockSize == 0 else {
      throw contradiction(record)
    }
    var first = record.argument / UInt64(blockSize)
    if record.kind == .truncate {
      let cut = UInt32((record.argument + UInt64(blockSize) - 1) / UInt64(blockSize))
      if record.argument < node.size { current.fileIndex(node.id).cut(at: cut) }
    }
    guard first + UInt64(blocks) <= BlockMap.maximumBlocks else { throw contradiction(record) }
    if blocks > 0 {
      current.segments[segment.number] = segment
      let index = current.fileIndex(node.id)
      for number in 0..<blocks {
        let place = current.place(
          segment: segment.number, offset: offset + UInt64(number * blockSize))
        index.map.set(UInt32(first), to: place)
        first += 1
      }
    }
    node.size = record.kind == .truncate ? record.argument : record.second
    node.modified = record.modified
    node.changes += 1
    if record.isProvisional { node.isProvisional = true }
  }

  private func applyCreate(_ record: LogRecord, _ payload: UnsafeRawBufferPointer) throws {
    guard let parent = nodes[FileID(record.argument)], parent.directory != nil,
      let (name, target) = Self.names(payload), let kind = kind(of: record),
      parent.directory?[name] == nil, nodes[record.file] == nil
    else { throw contradiction(record) }
    let node = Node(
      id: record.file, kind: kind, parent: parent.id, name: name,
      mode: UInt16(record.second & 0o7777), modified: record.modified, target: target)
    insert(node, into: parent)
    if kind == .regular { current.fileIndex(node.id).floor = 0 }
  }

  private func kind(of record: LogRecord) -> FileKind? {
    FileKind(rawValue: UInt8(truncatingIfNeeded: record.second >> 16))
  }

  /// Adds a new node to the tree.
  func insert(_ node: Node, into parent: Node) {
    nodes[node.id] = node
    parent.directory?.insert(node.name, node.id)
    parent.modified = node.modified
    nextFileID = max(nextFileID, FileID(node.id.rawValue + 1))
  }

  private func applyRemove(_ record: LogRecord, _ payload: UnsafeRawBufferPointer) throws {
    guard let parent = nodes[FileID(record.argument)], let (name, _) = Self.names(payload),
      parent.directory?[name] == record.file, let node = nodes[record.file]
    else { throw contradiction(record) }
    parent.directory?.remove(name)
    parent.modified = record.modified
    unlink(node)
  }

  private func applyRename(_ record: LogRecord, _ payload: UnsafeRawBufferPointer) throws {
    guard let from = nodes[FileID(record.argument)], let to = nodes[FileID(record.second)],
      let (oldName, newName) = Self.names(payload), to.directory != nil,
      from.directory?[oldName] == record.file, let node = nodes[record.file]
    else { throw contradiction(record) }
    move(node, from: from, to: to, newName: newName, at: record.modified)
  }

  /// Renames within the tree; a node that had the new name loses it.
  func move(_ node: Node, from: Node, to: Node, newName: String, at modified: Int64) {
    if let replaced = to.directory?[newName] {
      to.directory?.remove(newName)
      if let other = nodes[replaced] { unlink(other) }
    }
    from.directory?.remove(node.name)
    to.directory?.insert(newName, node.id)
    node.parent = to.id
    node.name = newName
    node.fileClass = node.isScratch ? node.fileClass : nil
    from.modified = modified
    to.modified = modified
  }

  /// A file's name is gone: the node goes too unless it is open.
  func unlink(_ node: Node) {
    node.isLinked = false
    if !node.isScratch { current.removed.append(node.id) }
    if node.openCount == 0 { drop(node) }
  }

  /// Forgets an unlinked node that nobody has open.
  func drop(_ node: Node) {
    nodes[node.id] = nil
    for staged in node.staged { staged.free() }
    node.staged = []
  }

  func contradiction(_ record: LogRecord) -> VolumeError {
    VolumeError(
      .damaged,
      "apply log record \(record.sequence): \(record.kind) of file \(record.file.rawValue) "
        + "contradicts the tree")
  }

  func fileClass(of node: Node) -> FileClass {
    if let known = node.fileClass { return known }
    let found = classify(node.kind, name: node.name, in: node.parent)
    node.fileClass = found
    return found
  }

  /// The class a name in a directory has: that of its path, and never inside history below a
  /// directory outside it.
  func classify(_ kind: FileKind, name: String, in parent: FileID) -> FileClass {
    if nodes[parent]?.isScratch == true { return .outsideHistory }
    let directory = path(of: parent) ?? ""
    return classification(directory.isEmpty ? name : "\(directory)/\(name)", kind)
  }

  /// Path below the root, "" for the root itself; `nil` for what is unlinked or unknown.
  func path(of file: FileID) -> String? {
    var parts: [String] = []
    var id = file
    while id != .root {
      guard let node = nodes[id], node.isLinked else { return nil }
      parts.append(node.name)
      id = node.parent
    }
    return parts.reversed().joined(separator: "/")
  }

  /// The persistent tree, in no order.
  func snapshot() -> FileTreeSnapshot {
    var entries: [FileTreeEntry] = []
    entries.reserveCapacity(nodes.count)
    for node in nodes.values where node.isLinked && !node.isScratch { entries.append(node.entry) }
    return FileTreeSnapshot(entries: entries, nextFileID: nextFileID)
  }

  /// Splits a payload of two strings, each after its length in 16 bits.
  static func names(_ payload: UnsafeRawBufferPointer) -> (String, String)? {
    guard payload.count >= 4 else { return nil }
    let first = Int(payload.load(UInt16.self, at: 0))
    guard payload.count >= 4 + first else { return nil }
    let second = Int(payload.load(UInt16.self, at: 2 + first))
    guard payload.count == 4 + first + second else { return nil }
    return (
      String(decoding: payload[2..<2 + first], as: UTF8.self),
      String(decoding: payload[(4 + first)...], as: UTF8.self)
    )
  }

  static func encodeNames(_ first: String, _ second: String) -> [UInt8] {
    var bytes: [UInt8] = []
    for text in [first, second] {
      withUnsafeBytes(of: UInt16(text.utf8.count).littleEndian) { bytes += $0 }
      bytes += text.utf8
    }
    return bytes
  }
}
