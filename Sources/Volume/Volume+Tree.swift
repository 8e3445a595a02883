import DurableIO

/// What `stat` tells of a file.
public struct FileAttributes: Sendable, Equatable {
  public var id: FileID
  public var kind: FileKind
  /// Permission bits.
  public var mode: UInt16
  /// Bytes, staged pieces included.
  public var size: UInt64
  /// Nanoseconds since 1970.
  public var modified: Int64
  /// 0 once the last name is gone.
  public var linkCount: Int
}

/// One name of a directory.
public struct DirectoryEntry: Sendable, Equatable {
  /// Where listing goes on after this entry; stable while names come and go, not across a reopen.
  public var cookie: UInt64
  public var id: FileID
  public var name: String
  public var kind: FileKind
}

/// An open file's handle, valid until released or the volume is closed. The raw value is never 0.
public struct OpenHandle: RawRepresentable, Sendable, Hashable {
  public var rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

extension Volume {
  // MARK: Reading the tree (state lock only)

  /// - Throws: ``VolumeError`` `.notFound`, `.notDirectory`.
  public func lookup(_ name: String, in parent: FileID) throws -> FileAttributes {
    try withState { state in
      let directory = try state.directory(parent)
      guard let id = directory.directory?[name], let node = state.nodes[id] else {
        throw VolumeError(.notFound, "look up '\(name)'")
      }
      return node.attributes
    }
  }

  public func attributes(of file: FileID) throws -> FileAttributes {
    try withState { try $0.node(file).attributes }
  }

  /// How the volume treats a file; `nil` for what is unknown.
  public func fileClass(of file: FileID) -> FileClass? {
    withState { state in state.nodes[file].map { state.fileClass(of: $0) } }
  }

  public func readLink(_ file: FileID) throws -> String {
    try withState { state in
      let node = try state.node(file)
      guard node.kind == .symbolicLink else {
        throw VolumeError(.invalidArgument, "read link '\(node.name)': not a symbolic link")
      }
      return node.target
    }
  }

  /// Up to `limit` names after `cookie` (0 to begin); without `.` and `..`.
  public func list(
    _ directory: FileID, after cookie: UInt64 = 0, limit: Int = .max
  ) throws -> [DirectoryEntry] {
    try withState { state in
      let node = try state.directory(directory)
      return (node.directory?.entries(after: cookie, limit: limit) ?? []).compactMap { entry in
        guard let name = entry.name, let child = state.nodes[entry.id] else { return nil }
        return DirectoryEntry(cookie: entry.cookie, id: entry.id, name: name, kind: child.kind)
      }
    }
  }

  /// The directory that holds a file; the root's is the root.
  public func parent(of file: FileID) throws -> FileID {
    try withState { try $0.node(file).parent }
  }

  /// Path below the root without a leading slash; `nil` for what is unlinked or unknown.
  public func path(of file: FileID) -> String? {
    withState { $0.nodes[file] == nil ? nil : $0.path(of: file) }
  }

  /// Finds a file by its path below the root. Symbolic links are not followed.
  public func find(_ path: String) throws -> FileAttributes {
    var found = try attributes(of: .root)
    for part in path.split(separator: "/") { found = try lookup(String(part), in: found.id) }
    return found
  }

  // MARK: Handles

  /// Keeps a file alive, even unlinked, until ``release(_:)``.
  public func open(_ file: FileID) throws -> OpenHandle {
    try withState { state in
      let node = try state.node(file)
      node.openCount += 1
      let handle = OpenHandle(rawValue: state.nextHandle)
      state.nextHandle += 1
      state.handles[handle.rawValue] = file
      return handle
    }
  }

  /// Regular files inside history that have a name and an open handle, and when they were modified.
  public func openFiles() -> [(file: FileID, modified: Int64)] {
    withState { state in
      Set(state.handles.values).compactMap { file in
        guard let node = state.nodes[file], node.kind == .regular, node.isLinked, !node.isScratch
        else { return nil }
        return (file, node.modified)
      }
    }
  }

  /// Ends a handle: pieces of blocks written through it whose rest never came are dropped, and an
  /// unlinked file
  /// that nobody else has open goes.
  public func release(_ handle: OpenHandle) throws {
    let (file, dropped, isGone) = try withWriter {
      try withState { state -> (FileID, [Range<UInt64>], Bool) in
        guard let file = state.handles.removeValue(forKey: handle.rawValue),
          let node = state.nodes[file]
        else { throw VolumeError(.staleHandle, "release file handle") }
        let dropped = node.dropStaged { $0.handle == handle.rawValue }
        node.openCount -= 1
        guard node.openCount == 0, !node.isLinked else { return (file, dropped, false) }
        state.drop(node)
        return (file, dropped, node.isScratch)
      }
    }
    reportDropped(file, dropped)
    if isGone { try VolumeError.wrapping { try scratch.remove(file) } }
  }

  // MARK: Changing the tree

  /// Makes an empty regular file.
  /// - Throws: ``VolumeError`` `.exists`, `.notDirectory`, `.nameTooLong`, `.diskFull`.
  public func create(_ name: String, in parent: FileID, mode: UInt16) throws -> FileAttributes {
    try make(.regular, name, in: parent, mode: mode)
  }

  public func makeDirectory(
    _ name: String, in parent: FileID, mode: UInt16
  ) throws -> FileAttributes {
    try make(.directory, name, in: parent, mode: mode)
  }

  public func makeSymbolicLink(
    _ name: String, in parent: FileID, target: String
  ) throws -> FileAttributes {
    try make(.symbolicLink, name, in: parent, mode: 0o777, target: target)
  }

  private func make(
    _ kind: FileKind, _ name: String, in parent: FileID, mode: UInt16, target: String = ""
  ) throws -> FileAttributes {
    try checkName(name)
    guard target.utf8.count < 4096 else { throw VolumeError(.nameTooLong, "link to '\(target)'") }
    return try VolumeError.wrapping {
      try withWriter {
        let now = configuration.clock()
        let (id, isScratch) = try withState { state in
          let directory = try state.directory(parent)
          guard directory.isLinked else { throw VolumeError(.notFound, "create '\(name)'") }
          guard directory.directory?[name] == nil else {
            throw VolumeError(.exists, "create '\(name)'")
          }
          let found = state.classify(kind, name: name, in: parent)
          return (state.nextFileID, found.isOutsideHistory)
        }
        if isScratch {
          return withState {
            $0.insertScratch(
              Node(
                id: id, kind: kind, parent: parent, name: name, mode: mode & 0o7777, modified: now,
                target: target)
            ).attributes
          }
        }
        var record = LogRecord(.create, file: id, argument: parent.rawValue)
        record.second = UInt64(kind.rawValue) << 16 | UInt64(mode & 0o7777)
        record.modified = now
        try commit(record, names: name, target)
        return try withState { try $0.node(id).attributes }
      }
    }
  }

  /// Removes a file's or symbolic link's name.
  public func unlink(_ name: String, in parent: FileID) throws {
    try remove(name, in: parent, directory: false)
  }

  /// - Throws: ``VolumeError`` `.notEmpty`, `.notDirectory`.
  public func removeDirectory(_ name: String, in parent: FileID) throws {
    try remove(name, in: parent, directory: true)
  }

  private func remove(_ name: String, in parent: FileID, directory: Bool) throws {
    let scratchToRemove: FileID? = try VolumeError.wrapping {
      try withWriter {
        let (id, isScratch) = try withState { state in
          let node = try state.child(name, in: parent)
          try state.checkRemovable(node, asDirectory: directory)
          return (node.id, node.isScratch)
        }
        let now = configuration.clock()
        if isScratch {
          return withState { state in
            guard let node = state.nodes[id], let from = state.nodes[parent] else { return nil }
            from.directory?.remove(name)
            from.modified = now
            state.unlink(node)
            return node.openCount == 0 ? id : nil
          }
        }
        var record = LogRecord(.remove, file: id, argument: parent.rawValue)
        record.modified = now
        try commit(record, names: name)
        return nil
      }
    }
    if let scratchToRemove {
      try VolumeError.wrapping { try scratch.remove(scratchToRemove) }
    }
  }

  /// Moves a name, replacing what has the new one unless `noReplace`.
  /// - Throws: ``VolumeError`` `.crossesHistory` where one side is logged and the other not; the
  /// codes of
  ///   `rename(2)` else.
  public func rename(
    _ name: String, in parent: FileID, to newName: String, in newParent: FileID,
    noReplace: Bool = false
  ) throws {
    try checkName(newName)
    let scratchToRemove: FileID? = try VolumeError.wrapping {
      try withWriter {
        let plan = try withState {
          try $0.planRename(name, parent, newName, newParent, noReplace)
        }
        guard let plan else { return nil }
        let now = configuration.clock()
        if plan.isScratch {
          return withState { state in
            guard let node = state.nodes[plan.file], let from = state.nodes[parent],
              let to = state.nodes[newParent]
            else { return nil }
            state.move(node, from: from, to: to, newName: newName, at: now)
            return plan.replaced.flatMap { state.nodes[$0] == nil ? $0 : nil }
          }
        }
        var record = LogRecord(.rename, file: plan.file, argument: parent.rawValue)
        record.second = newParent.rawValue
        record.modified = now
        try commit(record, names: name, newName)
        return nil
      }
    }
    if let scratchToRemove {
      try VolumeError.wrapping { try scratch.remove(scratchToRemove) }
    }
  }

  /// Sets permission bits and modification time (nanoseconds since 1970); `nil` leaves them.
  public func setAttributes(
    _ file: FileID, mode: UInt16? = nil, modified: Int64? = nil
  ) throws -> FileAttributes {
    try VolumeError.wrapping {
      try withWriter {
        let (isScratch, isLinked) = try withState { state in
          let node = try state.node(file)
          return (node.isScratch, node.isLinked)
        }
        if isScratch {
          withState { state in
            if let mode { state.nodes[file]?.mode = mode & 0o7777 }
            if let modified { state.nodes[file]?.modified = modified }
          }
        } else {
          var record = LogRecord(.setAttributes, file: file)
          record.isOrphan = !isLinked
          if let mode { record.second |= UInt64(mode & 0o7777) | 1 << 16 }
          if let modified {
            record.second |= 1 << 17
            record.modified = modified
          }
          try commit(record)
        }
        return try withState { try $0.node(file).attributes }
      }
    }
  }

  private func checkName(_ name: String) throws {
    guard name.utf8.count <= 255 else { throw VolumeError(.nameTooLong, "name '\(name)'") }
    guard !name.isEmpty, name != ".", name != "..", !name.utf8.contains(UInt8(ascii: "/")),
      !name.utf8.contains(0)
    else { throw VolumeError(.invalidArgument, "name '\(name)'") }
  }
}
