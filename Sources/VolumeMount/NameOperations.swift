import CFuse
import Glibc
import Volume

// Requests that look names up or change the tree.

/// `rename2(2)`'s flag that refuses an existing target.
private let renameNoReplace: UInt32 = 1

/// A name as the tree stores it.
/// - Throws: ``Refusal/notText``.
func text(_ bytes: UnsafePointer<CChar>?) throws -> String {
  guard let bytes, let text = String(validatingCString: bytes) else {
    throw Refusal.notText
  }
  return text
}

extension MountSession {
  static func addNameOperations(to table: inout fuse_lowlevel_ops) {
    table.lookup = { request, parent, name in
      Request(pointer: request!).handle { session in
        let found = try session.volume.lookup(text(name), in: FileID(parent))
        Request(pointer: request!).answer(entry: found)
      }
    }
    // Identities are never used again and open files are held by their handles, so that what the
    // kernel remembers needs no count here.
    table.forget = { request, _, _ in Request(pointer: request!).answerNothing() }
    table.forget_multi = { request, _, _ in Request(pointer: request!).answerNothing() }
    table.readlink = { request, file in
      Request(pointer: request!).handle { session in
        let target = try session.volume.readLink(FileID(file))
        fuse_reply_readlink(request, target)
      }
    }
    addCreations(to: &table)
    addRemovals(to: &table)
  }

  private static func addCreations(to table: inout fuse_lowlevel_ops) {
    table.mknod = { request, parent, name, mode, _ in
      Request(pointer: request!).handle { session in
        guard mode & S_IFMT == S_IFREG else { throw Refusal.notPermitted }
        let made = try session.volume.create(
          text(name), in: FileID(parent), mode: permissions(mode))
        Request(pointer: request!).answer(entry: made)
      }
    }
    table.mkdir = { request, parent, name, mode in
      Request(pointer: request!).handle { session in
        let made = try session.volume.makeDirectory(
          text(name), in: FileID(parent), mode: permissions(mode))
        Request(pointer: request!).answer(entry: made)
      }
    }
    table.symlink = { request, target, parent, name in
      Request(pointer: request!).handle { session in
        let made = try session.volume.makeSymbolicLink(
          text(name), in: FileID(parent), target: text(target))
        Request(pointer: request!).answer(entry: made)
      }
    }
    // A file has one name here: layers and the tree's records know no second.
    table.link = { request, _, _, _ in Request(pointer: request!).answer(EPERM) }
  }

  private static func addRemovals(to table: inout fuse_lowlevel_ops) {
    table.unlink = { request, parent, name in
      Request(pointer: request!).handle { session in
        try session.volume.unlink(text(name), in: FileID(parent))
        Request(pointer: request!).answer()
      }
    }
    table.rmdir = { request, parent, name in
      Request(pointer: request!).handle { session in
        try session.volume.removeDirectory(text(name), in: FileID(parent))
        Request(pointer: request!).answer()
      }
    }
    table.rename = { request, parent, name, newParent, newName, flags in
      Request(pointer: request!).handle { session in
        guard flags & ~renameNoReplace == 0 else { throw Refusal.invalid }
        try session.volume.rename(
          text(name), in: FileID(parent), to: text(newName), in: FileID(newParent),
          noReplace: flags & renameNoReplace != 0)
        Request(pointer: request!).answer()
      }
    }
  }
}

/// Permission bits of a mode, without its type.
func permissions(_ mode: mode_t) -> UInt16 { UInt16(mode & 0o7777) }
