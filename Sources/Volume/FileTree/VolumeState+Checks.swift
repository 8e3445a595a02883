extension Node {
  var attributes: FileAttributes {
    FileAttributes(
      id: id, kind: kind, mode: mode, size: kind == .directory ? 0 : visibleSize,
      modified: modified, linkCount: isLinked ? (kind == .directory ? 2 : 1) : 0)
  }

  /// Drops staged pieces that `matches`; returns the bytes of the file that go back to what they
  /// were.
  func dropStaged(where matches: (StagedBlock) -> Bool) -> [Range<UInt64>] {
    guard !staged.isEmpty else { return [] }
    var dropped: [Range<UInt64>] = []
    for piece in staged where matches(piece) {
      dropped.append(piece.start..<piece.end)
      piece.free()
    }
    staged.removeAll(where: matches)
    return dropped
  }
}

/// What a call may do, decided before anything is logged.
extension VolumeState {
  func node(_ id: FileID) throws -> Node {
    guard let node = nodes[id] else {
      throw VolumeError(.notFound, "find file \(id.rawValue)")
    }
    return node
  }

  func directory(_ id: FileID) throws -> Node {
    let node = try node(id)
    guard node.kind == .directory else {
      throw VolumeError(.notDirectory, "use '\(node.name)' as a directory")
    }
    return node
  }

  func regular(_ id: FileID) throws -> Node {
    let node = try node(id)
    guard node.kind == .regular else {
      throw VolumeError(
        node.kind == .directory ? .isDirectory : .invalidArgument, "use '\(node.name)' as a file")
    }
    return node
  }

  func child(_ name: String, in parent: FileID) throws -> Node {
    guard let id = try directory(parent).directory?[name], let node = nodes[id] else {
      throw VolumeError(.notFound, "find '\(name)'")
    }
    return node
  }

  func checkRemovable(_ node: Node, asDirectory: Bool) throws {
    if asDirectory, node.kind != .directory {
      throw VolumeError(.notDirectory, "remove '\(node.name)'")
    }
    if !asDirectory, node.kind == .directory {
      throw VolumeError(.isDirectory, "remove '\(node.name)'")
    }
    if let count = node.directory?.count, count > 0 {
      throw VolumeError(.notEmpty, "remove '\(node.name)'")
    }
  }

  func insertScratch(_ node: Node) -> Node {
    node.isScratch = true
    node.fileClass = .outsideHistory
    if let parent = nodes[node.parent] { insert(node, into: parent) }
    return node
  }

  struct RenamePlan {
    var file: FileID
    var replaced: FileID?
    var isScratch: Bool
  }

  /// Checks a rename; `nil` where it changes nothing.
  func planRename(
    _ name: String, _ parent: FileID, _ newName: String, _ newParent: FileID, _ noReplace: Bool
  ) throws -> RenamePlan? {
    let node = try child(name, in: parent)
    let target = try directory(newParent)
    guard target.isLinked else { throw VolumeError(.notFound, "rename to '\(newName)'") }
    var above = target
    while above.id != .root {
      guard above.id != node.id, let next = nodes[above.parent] else {
        throw VolumeError(.invalidArgument, "rename '\(name)' into itself")
      }
      above = next
    }
    let replaced = target.directory?[newName].flatMap { nodes[$0] }
    if let replaced {
      if noReplace { throw VolumeError(.exists, "rename to '\(newName)'") }
      if replaced.id == node.id { return nil }
      if node.kind == .directory, replaced.kind != .directory {
        throw VolumeError(.notDirectory, "rename '\(name)' to '\(newName)'")
      }
      if node.kind != .directory, replaced.kind == .directory {
        throw VolumeError(.isDirectory, "rename '\(name)' to '\(newName)'")
      }
      if let count = replaced.directory?.count, count > 0 {
        throw VolumeError(.notEmpty, "rename '\(name)' to '\(newName)'")
      }
    }
    let isOutside = classify(node.kind, name: newName, in: newParent).isOutsideHistory
    guard isOutside == node.isScratch, replaced?.isScratch ?? isOutside == isOutside else {
      throw VolumeError(.crossesHistory, "rename '\(name)' to '\(newName)'")
    }
    return RenamePlan(file: node.id, replaced: replaced?.id, isScratch: isOutside)
  }
}
