import DurableIO
import Foundation
import Glibc

/// The control group of one compute's server: its directories, one for each hierarchy.
///
/// *State and invariants*: 1. It holds the server and what that starts, not the agent: the server's reads go
/// through the agent's volume, which must not wait for memory that the server holds. 2. It is made and its
/// limits are written before the server is in it.
///
/// *Crash*: it stays behind and is taken away at the next start of the compute or of serve.
public struct ControlGroup: Codable, Sendable, Equatable {
  struct Directory: Codable, Sendable, Equatable {
    enum Kind: String, Codable { case memoryV1, processorV1, unified }
    var kind: Kind
    var path: String
  }

  var directories: [Directory]
  var limits: ResourceLimits

  /// Makes it, or gives one that is there the present limits.
  /// - Throws: ``ComputeError`` `.environment` naming the file.
  func make() throws {
    for directory in directories {
      guard mkdir(directory.path, 0o755) == 0 || errno == EEXIST else {
        throw controlGroupFailure("make", directory.path)
      }
      let files =
        switch directory.kind {
        case .memoryV1: limits.memoryV1
        case .processorV1: limits.processorV1
        case .unified: limits.unified
        }
      for (name, value) in files { try writeControl("\(directory.path)/\(name)", value) }
    }
  }

  /// Moves a process into it; those that it starts from then on are in it too.
  func take(_ process: pid_t) throws {
    for directory in directories {
      try writeControl("\(directory.path)/cgroup.procs", "\(process)")
    }
  }

  /// Takes its installation's group away where no other compute has one there.
  public func removeParents() {
    for directory in directories { rmdir(parentDirectory(of: directory.path)) }
  }

  /// Takes it away once its processes are gone; one that has some is left. Blocks for up to a second.
  func remove() {
    for directory in directories {
      for _ in 0..<100 where rmdir(directory.path) != 0 && errno == EBUSY { usleep(10_000) }
    }
  }
}

/// Writes a control file. The kernel takes or refuses a value with the write itself.
func writeControl(_ path: String, _ value: String) throws {
  // A file that is not there is not to be made: outside tests it cannot be.
  let descriptor = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
  guard descriptor >= 0 else { throw controlGroupFailure("open", path) }
  defer { close(descriptor) }
  let bytes = Array(value.utf8)
  guard write(descriptor, bytes, bytes.count) == bytes.count else {
    throw controlGroupFailure("write '\(value)' to", path)
  }
}

/// What a file of the kernel's says now; `nil` where it cannot be read.
///
/// Not by Foundation, which keeps the memory of each read that finds nothing (6.3.1: 4 KiB).
func readControl(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
    while true {
      let count = read(descriptor, buffer.baseAddress, buffer.count)
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      if count < 0 {
        guard errno == EINTR else { return nil }
        continue
      }
      bytes += buffer.prefix(count)
    }
  }
}

/// What the last call of the system was refused.
func controlGroupFailure(_ verb: String, _ path: String) -> ComputeError {
  ComputeError(
    .environment, "limit a compute: \(verb) '\(path)': \(String(cString: strerror(errno)))",
    hint: "run serve as root, or have its control group delegated to it (Delegate=yes in systemd)")
}
