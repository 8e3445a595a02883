import CFuse
import DurableIO
import Glibc
import Volume

/// A place in the file system where volumes are mounted.
public enum MountPoint {
  /// Whether a mount whose server is gone occupies `path`: every call there fails with "Transport
  /// endpoint is not connected".
  public static func isDead(at path: String) -> Bool {
    // Not stat(2): the kernel goes on answering that from its cache.
    var status = statvfs()
    guard statvfs(path, &status) != 0 else { return false }
    return errno == ENOTCONN || errno == ECONNABORTED
  }

  /// Unmounts what servers that died left at `path`. Does nothing where there is none; a mount that
  /// still answers is left alone.
  ///
  /// Processes that have files of the dead mount open keep getting errors from them.
  public static func clearDeadMount(at path: String) throws {
    let path = try SystemMounts.absolutePath(path)
    while isDead(at: path) {
      let code = SystemMounts.unmount(path, lazily: true)
      guard code == 0 || code == EINVAL else {
        throw MountError(
          .notPermitted, "clear dead mount at '\(path)': \(reason(code))",
          hint: "run 'umount -l \(path)' as root")
      }
    }
  }

  /// What is needed to mount at `path`, checked before libfuse is asked, so that the error can name
  /// it.
  static func check(_ path: String) throws {
    try checkDevice()
    if isDead(at: path) {
      throw MountError(
        .alreadyMounted, "mount at '\(path)': a mount whose server died is still there",
        hint: "clear it first ('umount -l \(path)')")
    }
    if let type = try SystemMounts.mounts(at: path).last?.type {
      throw MountError(.alreadyMounted, "mount at '\(path)': a '\(type)' file system is there")
    }
    guard let directory = opendir(path) else {
      throw MountError(.mountPointUnusable, "mount at '\(path)': \(reason(errno))")
    }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = entry.entryName
      guard name == "." || name == ".." else {
        throw MountError(
          .mountPointUnusable, "mount at '\(path)': the directory is not empty ('\(name)')",
          hint: "what lies there would be hidden; move it away or mount elsewhere")
      }
    }
  }

  private static func checkDevice() throws {
    let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
    if device >= 0 {
      close(device)
      return
    }
    switch errno {
    case ENOENT, ENODEV, ENXIO:
      throw MountError(
        .deviceMissing, "open '/dev/fuse': \(reason(errno))",
        hint: "load the kernel's module with 'modprobe fuse'; "
          + "in a container pass '--device /dev/fuse --cap-add SYS_ADMIN'")
    default:
      throw MountError(
        .notPermitted, "open '/dev/fuse': \(reason(errno))",
        hint: "run as root, or give this user the device ('chmod 666 /dev/fuse'); "
          + "in a container pass '--device /dev/fuse --cap-add SYS_ADMIN'")
    }
  }

  /// The error for a mount that libfuse did not make. `words` is what it said.
  static func failure(_ path: String, _ words: String) -> MountError {
    let cause = words.isEmpty ? "libfuse gave no reason" : words
    let message = "mount at '\(path)': \(cause)"
    if geteuid() != 0 {
      return MountError(
        .notPermitted, message,
        hint:
          "an ordinary user needs 'fusermount3' (package fuse3), set-uid root, and write access to the "
          + "mount point; for other users' access 'user_allow_other' in /etc/fuse.conf")
    }
    return MountError(
      cause.contains("not permitted") ? .notPermitted : .failed, message,
      hint: "a container needs '--device /dev/fuse --cap-add SYS_ADMIN'")
  }
}
