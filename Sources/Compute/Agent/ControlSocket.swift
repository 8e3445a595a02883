import Foundation

/// A connected unix socket that carries JSON objects, one a line.
///
/// Blocking; one thread at a time. Closed on deinit.
final class ControlConnection {
  /// Longest line accepted, bytes.
  static let lineLimit = 1 << 20
  private let descriptor: Int32
  private var pending: [UInt8] = []

  init(descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  /// Connects to a listening socket.
  /// - Parameter timeout: seconds that a read or write may block; 0 for ever.
  static func connect(path: String, timeout: Int) throws -> ControlConnection {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw failure("make a socket for", path) }
    let connection = ControlConnection(descriptor: descriptor)
    var limit = timeval(tv_sec: timeout, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    let code = try withSocketAddress(path) { Glibc.connect(descriptor, $0, $1) }
    guard code == 0 else { throw failure("connect to", path) }
    return connection
  }

  func send(_ value: some Encodable) throws {
    let bytes = [UInt8](try JSONEncoder().encode(value)) + [UInt8(ascii: "\n")]
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.send(
          descriptor, buffer.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else {
        throw ComputeError(.agent, "send on a control socket: \(String(cString: strerror(errno)))")
      }
      sent += count
    }
  }

  /// The next object, or `nil` where the other side has closed between two.
  func receive<Value: Decodable>(_ type: Value.Type) throws -> Value? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(pending[..<end])
        pending.removeSubrange(...end)
        return try JSONDecoder().decode(type, from: line)
      }
      guard pending.count < Self.lineLimit else {
        throw ComputeError(.agent, "read a control socket: line over \(Self.lineLimit) bytes")
      }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count < 0 && errno == EINTR { continue }
      if count < 0 {
        throw ComputeError(.agent, "read a control socket: \(String(cString: strerror(errno)))")
      }
      if count == 0 {
        guard pending.isEmpty else {
          throw ComputeError(.agent, "read a control socket: closed in mid-line")
        }
        return nil
      }
      pending += buffer[..<count]
    }
  }

  fileprivate static func failure(_ verb: String, _ path: String) -> ComputeError {
    ComputeError(.agent, "\(verb) control socket '\(path)': \(String(cString: strerror(errno)))")
  }
}

/// Listens on a unix socket and serves each connection on a thread of its own.
final class ControlListener: Sendable {
  private let descriptor: Int32
  private let path: String

  /// Binds `path` with mode 0600, in place of a socket left there.
  init(path: String) throws {
    self.path = path
    unlink(path)
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw ControlConnection.failure("make a socket for", path) }
    let mask = umask(0o177)
    let code = try withSocketAddress(path) { bind(descriptor, $0, $1) }
    umask(mask)
    guard code == 0, listen(descriptor, 16) == 0 else {
      throw ControlConnection.failure("listen on", path)
    }
  }

  /// Serves until ``close()``. Blocks the thread.
  func run(_ handle: @escaping @Sendable (ControlConnection) -> Void) {
    while true {
      let client = accept(descriptor, nil, nil)
      if client < 0 {
        // Closing gives EINVAL; anything else, such as too many open files, passes.
        if errno == EINVAL || errno == EBADF { return }
        if errno != EINTR { usleep(50_000) }
        continue
      }
      Thread.detachNewThread { handle(ControlConnection(descriptor: client)) }
    }
  }

  func close() {
    unlink(path)
    shutdown(descriptor, Int32(SHUT_RDWR))
  }
}

/// Calls `body` with the address of a unix socket; paths are limited to 107 bytes (`unix(7)`).
private func withSocketAddress<Result>(
  _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) throws -> Result {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let bytes = Array(path.utf8)
  guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
    throw ComputeError(
      .environment, "use the socket path '\(path)': longer than 107 bytes",
      hint: "choose a shorter --data-dir")
  }
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}
