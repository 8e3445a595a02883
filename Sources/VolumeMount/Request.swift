import CFuse
import Glibc
import Volume

/// One request of the kernel, to be answered exactly once, by any thread.
///
/// An answer that the kernel refuses belongs to a request that was interrupted meanwhile; only
/// where an answer hands over a resource (``answerOpen``, ``answerCreate``) does that matter, and
/// there it is returned.
struct Request: @unchecked Sendable {
  let pointer: OpaquePointer

  var session: MountSession {
    Unmanaged<MountSession>.fromOpaque(fuse_req_userdata(pointer)).takeUnretainedValue()
  }

  /// Thread of the caller, in our process namespace.
  var caller: pid_t { fuse_req_ctx(pointer).pointee.pid }

  /// Runs `body`, which answers; if it throws, the error's number is the answer.
  @inline(__always)
  func handle(_ body: (MountSession) throws -> Void) {
    let session = session
    do {
      try body(session)
    } catch {
      answer(session.errorNumber(error))
    }
  }

  /// 0 for success without content.
  func answer(_ code: Int32 = 0) { fuse_reply_err(pointer, code) }

  func answerNothing() { fuse_reply_none(pointer) }

  func answer(entry attributes: FileAttributes) {
    var entry = session.entry(attributes)
    fuse_reply_entry(pointer, &entry)
  }

  func answer(attributes: FileAttributes) {
    var status = session.status(attributes)
    fuse_reply_attr(pointer, &status, kernelCacheSeconds)
  }

  func answer(bytes: UnsafeRawBufferPointer) {
    fuse_reply_buf(pointer, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
  }

  func answer(written count: Int) { fuse_reply_write(pointer, count) }

  /// - Returns: `false` if the caller is gone, so that no release will follow.
  func answerOpen(_ file: inout fuse_file_info) -> Bool { fuse_reply_open(pointer, &file) == 0 }

  /// - Returns: `false` if the caller is gone, so that no release will follow.
  func answerCreate(_ attributes: FileAttributes, _ file: inout fuse_file_info) -> Bool {
    var entry = session.entry(attributes)
    return fuse_reply_create(pointer, &entry, &file) == 0
  }
}

extension MountSession {
  /// What `stat(2)` shows. The access time is the time of the last change; neither is kept apart.
  func status(_ attributes: FileAttributes) -> stat {
    var status = stat()
    status.st_ino = ino_t(attributes.id.rawValue)
    status.st_mode = type(attributes.kind) | mode_t(attributes.mode)
    status.st_nlink = attributes.kind == .directory ? 2 : nlink_t(attributes.linkCount)
    status.st_uid = options.ownerUID
    status.st_gid = options.ownerGID
    status.st_size = off_t(attributes.size)
    status.st_blksize = 4096
    status.st_blocks = blkcnt_t((attributes.size + 511) / 512)
    let time = timespec(nanoseconds: attributes.modified)
    status.st_atim = time
    status.st_mtim = time
    status.st_ctim = time
    return status
  }

  /// The type bits of a mode.
  func type(_ kind: FileKind) -> mode_t {
    switch kind {
    case .regular: S_IFREG
    case .directory: S_IFDIR
    case .symbolicLink: S_IFLNK
    }
  }

  func entry(_ attributes: FileAttributes) -> fuse_entry_param {
    var entry = fuse_entry_param()
    entry.ino = attributes.id.rawValue
    entry.attr = status(attributes)
    entry.attr_timeout = kernelCacheSeconds
    entry.entry_timeout = kernelCacheSeconds
    return entry
  }
}

extension timespec {
  init(nanoseconds: Int64) {
    let seconds = Int(nanoseconds / 1_000_000_000)
    let rest = Int(nanoseconds % 1_000_000_000)
    self =
      rest < 0
      ? timespec(tv_sec: seconds - 1, tv_nsec: rest + 1_000_000_000)
      : timespec(tv_sec: seconds, tv_nsec: rest)
  }

  var nanoseconds: Int64 {
    let (product, overflow) = Int64(tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return tv_sec < 0 ? .min : .max }
    let (sum, overflowed) = product.addingReportingOverflow(Int64(tv_nsec))
    return overflowed ? .max : sum
  }
}
