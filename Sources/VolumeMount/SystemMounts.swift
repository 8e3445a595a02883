import CFuse
import Glibc

/// The mount table and `umount`, for our own mounts.
enum SystemMounts {
  /// What the mount table says is mounted exactly at `path`, topmost last.
  static func mounts(at path: String) throws -> [(device: String, type: String)] {
    guard let file = fopen("/proc/self/mountinfo", "re") else {
      throw MountError(.failed, "read the mount table '/proc/self/mountinfo': \(reason(errno))")
    }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    var found: [(device: String, type: String)] = []
    while getline(&line, &capacity, file) > 0, let line {
      let fields = String(cString: line).split(separator: " ")
      guard fields.count > 9, unescape(fields[4]) == path,
        let separator = fields.firstIndex(of: "-"), separator + 1 < fields.count
      else { continue }
      found.append((String(fields[2]), String(fields[separator + 1])))
    }
    return found
  }

  /// Undoes the octal escapes of the mount table (`\040` for a blank).
  private static func unescape(_ field: Substring) -> String {
    var bytes: [UInt8] = []
    let source = Array(field.utf8)
    var index = 0
    while index < source.count {
      if source[index] == UInt8(ascii: "\\"), index + 3 < source.count,
        let code = UInt8(String(decoding: source[index + 1...index + 3], as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        index += 4
      } else {
        bytes.append(source[index])
        index += 1
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Resolves links and relative parts. A dead mount cannot be resolved itself, so only what
  /// leads to the last component is.
  static func absolutePath(_ path: String) throws -> String {
    var trimmed = path
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    let slash = trimmed.lastIndex(of: "/")
    let parent = slash.map { $0 == trimmed.startIndex ? "/" : String(trimmed[..<$0]) } ?? "."
    let last = slash.map { String(trimmed[trimmed.index(after: $0)...]) } ?? trimmed
    guard let resolved = realpath(parent, nil) else {
      throw MountError(
        .mountPointUnusable, "find mount point '\(path)': '\(parent)': \(reason(errno))")
    }
    defer { free(resolved) }
    let directory = String(cString: resolved)
    return directory == "/" ? "/\(last)" : "\(directory)/\(last)"
  }

  /// Unmounts as root with `umount2(2)`, else with `fusermount3`.
  /// - Returns: 0, or the reason: `EBUSY` while files are open, `EINVAL` where nothing is mounted.
  static func unmount(_ path: String, lazily: Bool) -> Int32 {
    if geteuid() == 0 {
      let flags = Int(UMOUNT_NOFOLLOW) | (lazily ? Int(MNT_DETACH) : 0)
      return umount2(path, Int32(flags)) == 0 ? 0 : errno
    }
    let arguments = ["fusermount3", "-u", "-q"] + (lazily ? ["-z"] : []) + ["--", path]
    let status = spawnAndWait(arguments)
    if status == 0 { return 0 }
    // fusermount3 says only that it failed; the mount table tells the two reasons apart.
    let mounted = (try? mounts(at: path).isEmpty) == false
    return mounted ? EBUSY : EINVAL
  }

  private static func spawnAndWait(_ arguments: [String]) -> Int32 {
    var process: pid_t = 0
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    guard posix_spawnp(&process, arguments[0], nil, nil, pointers, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      if errno != EINTR { return -1 }
    }
    return status
  }
}
