import Glibc

/// What this machine must have before any compute can run.
public struct MachineCheck: Sendable {
  /// The device through which volumes are mounted.
  var device = "/dev/fuse"
  var setpriv = "/usr/bin/setpriv"

  public init() {}

  /// - Throws: ``ComputeError`` `.environment` that says what is missing and how to get it.
  public func run() throws {
    guard access(device, F_OK) == 0 else {
      throw ComputeError(
        .environment, "use '\(device)': \(String(cString: strerror(errno)))",
        hint: "install fuse3 and load it (modprobe fuse); in a container, pass the device in")
    }
    let descriptor = open(device, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ComputeError(
        .environment, "open '\(device)': \(String(cString: strerror(errno)))",
        hint: "run as root, or give this user access to the device")
    }
    close(descriptor)
    guard access(setpriv, X_OK) == 0 else {
      throw ComputeError(
        .environment, "find '\(setpriv)': not there", hint: "install the package util-linux")
    }
  }
}
