import CFuse
import Glibc
import Volume

// Requests on open files and on attributes.

/// `fallocate(2)`'s FALLOC_FL_KEEP_SIZE.
private let allocationKeepsSize: Int32 = 1

extension MountSession {
  static func addFileOperations(to table: inout fuse_lowlevel_ops) {
    addAttributes(to: &table)
    addOpening(to: &table)
    addTransfers(to: &table)
    addSpace(to: &table)
    table.fsync = { request, file, _, _ in
      Request(pointer: request!).handle { session in
        // The kernel holds the file's lock from before it hands the pages over until this is answered, so no
        // write is under way: what the volume has is what the file is.
        // The kernel tells a lost write once only: whoever asks later must not hear that all is well.
        guard !session.openFiles.hasLosses(FileID(file)) else { throw Refusal.system(EIO) }
        try session.volume.sync(FileID(file))
        session.openFiles.noteSync(of: FileID(file))
        Request(pointer: request!).answer()
      }
    }
  }

  private static func addAttributes(to table: inout fuse_lowlevel_ops) {
    table.getattr = { request, file, _ in
      Request(pointer: request!).handle { session in
        Request(pointer: request!).answer(
          attributes: try session.volume.attributes(of: FileID(file)))
      }
    }
    table.setattr = { request, file, wanted, fields, _ in
      Request(pointer: request!).handle { session in
        let changed = try session.change(FileID(file), wanted!.pointee, fields: fields)
        Request(pointer: request!).answer(attributes: changed)
      }
    }
  }

  /// Tells of a write that failed after the kernel had taken it; of a file that is gone nobody misses it.
  ///
  /// The kernel goes on showing the page as it was written until it wants the memory; from then on reads fail.
  private func noteLostWrite(_ file: FileID, _ error: any Error) {
    guard cachesWrites, (error as? VolumeError)?.code != .notFound,
      volume.fileClass(of: file)?.isObserved != true  // not cached: its writer is told
    else { return }
    openFiles.noteLoss(of: file)
    options.onLostWrite?(file, error)
  }

  /// Applies `setattr`. The owner is fixed for the whole tree, so only a change to that owner
  /// succeeds.
  private func change(
    _ file: FileID, _ wanted: stat, fields: Int32
  ) throws -> FileAttributes {
    if fields & FUSE_SET_ATTR_UID != 0, wanted.st_uid != options.ownerUID {
      throw Refusal.notPermitted
    }
    if fields & FUSE_SET_ATTR_GID != 0, wanted.st_gid != options.ownerGID {
      throw Refusal.notPermitted
    }
    var modified: Int64?
    if fields & FUSE_SET_ATTR_MTIME_NOW != 0 {
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      modified = now.nanoseconds
    } else if fields & FUSE_SET_ATTR_MTIME != 0 {
      modified = wanted.st_mtim.nanoseconds
    }
    let mode = fields & FUSE_SET_ATTR_MODE != 0 ? permissions(wanted.st_mode) : nil
    let size = fields & FUSE_SET_ATTR_SIZE != 0 ? UInt64(wanted.st_size) : nil
    if let size { try volume.truncate(file, to: size) }
    if mode == nil, modified == nil { return try volume.attributes(of: file) }
    return try volume.setAttributes(file, mode: mode, modified: modified)
  }

  private static func addOpening(to table: inout fuse_lowlevel_ops) {
    // O_TRUNC never comes here: the kernel sends it as a change of size (see `initialise`).
    table.open = { request, file, opened in
      Request(pointer: request!).handle { session in
        try session.openFile(FileID(file), &opened!.pointee)
        if !Request(pointer: request!).answerOpen(&opened!.pointee) {
          session.closeFile(opened!.pointee.fh)
        }
      }
    }
    table.create = { request, parent, name, mode, opened in
      Request(pointer: request!).handle { session in
        let made = try session.volume.create(
          text(name), in: FileID(parent), mode: permissions(mode))
        try session.openFile(made.id, &opened!.pointee)
        if !Request(pointer: request!).answerCreate(made, &opened!.pointee) {
          session.closeFile(opened!.pointee.fh)
        }
      }
    }
    table.flush = { request, file, opened in
      let request = Request(pointer: request!)
      request.session.flush(opened!.pointee.fh, request)
    }
    table.release = { request, _, opened in
      Request(pointer: request!).session.closeFile(opened!.pointee.fh)
      Request(pointer: request!).answer()
    }
  }

  private static func addTransfers(to table: inout fuse_lowlevel_ops) {
    table.read = { request, file, size, offset, _ in
      Request(pointer: request!).handle { session in
        let buffer = UnsafeMutableRawBufferPointer(
          rebasing: AnswerBuffer.current[..<min(size, AnswerBuffer.size)])
        guard !session.openFiles.hasLosses(FileID(file)) else { throw Refusal.system(EIO) }
        let count = try session.volume.read(FileID(file), at: UInt64(offset), into: buffer)
        Request(pointer: request!).answer(bytes: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
    }
    table.write = { request, file, bytes, size, offset, opened in
      Request(pointer: request!).handle { session in
        let handle = opened!.pointee.fh
        if session.cachesWrites {
          session.openFiles.noteWrite(to: FileID(file))
        } else if offset % off_t(blockSize) != 0 || size % blockSize != 0 {
          session.notePiece(handle, by: Request(pointer: request!).caller)
        }
        do {
          try session.volume.write(
            FileID(file), at: UInt64(offset), UnsafeRawBufferPointer(start: bytes, count: size),
            handle: OpenHandle(rawValue: handle))
        } catch {
          session.noteLostWrite(FileID(file), error)
          throw error
        }
        Request(pointer: request!).answer(written: size)
      }
    }
  }

  private static func addSpace(to table: inout fuse_lowlevel_ops) {
    table.fallocate = { request, file, mode, offset, length, _ in
      Request(pointer: request!).handle { session in
        guard offset >= 0, length > 0 else { throw Refusal.invalid }
        // With KEEP_SIZE only space would be set aside, which a log gives no place to do.
        guard mode & ~allocationKeepsSize == 0 else { throw Refusal.notSupported }
        if mode & allocationKeepsSize == 0 {
          let (end, overflow) = offset.addingReportingOverflow(length)
          guard !overflow else { throw Refusal.tooLarge }
          try session.volume.allocate(FileID(file), UInt64(offset)..<UInt64(end))
        }
        Request(pointer: request!).answer()
      }
    }
    table.statfs = { request, _ in
      Request(pointer: request!).handle { session in
        var status = statvfs()
        guard statvfs(session.volume.configuration.directory, &status) == 0 else {
          throw Refusal.system(errno)
        }
        status.f_namemax = 255
        fuse_reply_statfs(request, &status)
      }
    }
  }
}
