import CFuse
import Glibc

/// A mount's connection as the kernel's control file system knows it.
///
/// A mount namespace that was copied while the mount was there holds it too, so that taking it out of our tree
/// does not end the connection. Aborting does: every request then fails, in every namespace.
/// Source: `Documentation/filesystems/fuse.rst`, "Control filesystem". Needs root.
struct FuseConnection {
  /// Names the connection: the minor device number of the mount.
  private let number: UInt32

  /// `nil` where nothing is mounted or we are not root: then other namespaces hold no copy that we could end.
  init?(mountedAt path: String) {
    let look = { @Sendable in
      var status = stat()
      return stat(path, &status) == 0 ? UInt64(status.st_dev) : nil
    }
    // Without a thread to look from, the mount goes as it does where we are not root.
    guard geteuid() == 0, let device = try? OwnMount.reach(look) else { return nil }
    number = UInt32(truncatingIfNeeded: device & 0xFF | (device >> 12) & 0xFFFF_FF00)
  }

  /// Ends the connection; no error where it has ended.
  func abort() throws {
    var directory = Array("/tmp/exzo-fusectl-XXXXXX".utf8CString)
    guard mkdtemp(&directory) != nil else { throw failure("make a directory") }
    defer { rmdir(directory) }
    guard mount("fusectl", directory, "fusectl", 0, nil) == 0 else {
      throw failure("mount the control file system")
    }
    defer { umount2(directory, Int32(MNT_DETACH)) }
    let path = String(
      decoding: directory.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    let file = open("\(path)/\(number)/abort", O_WRONLY | O_CLOEXEC)
    if file < 0, errno == ENOENT { return }
    guard file >= 0 else { throw failure("open its file") }
    defer { close(file) }
    guard write(file, "1", 1) == 1 else { throw failure("write its file") }
  }

  private func failure(_ what: String) -> MountError {
    MountError(.failed, "abort FUSE connection \(number): \(what): \(reason(errno))")
  }
}
