import Foundation
import Synchronization

/// A blocking TCP connection on loopback, or one that was accepted there.
public final class TCPConnection: @unchecked Sendable {
  // The descriptor is closed once, by `close` or deinit, by the one thread that uses it.
  private var descriptor: Int32

  init(descriptor: Int32) { self.descriptor = descriptor }

  /// Connects; throws where nobody listens.
  public init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let code = withLoopback(port) { connect(descriptor, $0, $1) }
    guard code == 0 else {
      Glibc.close(descriptor)
      descriptor = -1
      throw CommandFailure(
        description: "connect to port \(port): \(String(cString: strerror(errno)))")
    }
  }

  deinit { close() }

  public func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  /// Ends with a reset instead of a goodbye.
  public func reset() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }

  /// Some bytes, or none at the end.
  public func read() -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(descriptor, &buffer, buffer.count)
    return count > 0 ? Array(buffer[..<count]) : []
  }

  /// - Returns: whether all of it went out.
  @discardableResult
  public func write(_ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count <= 0 { return false }
      done += count
    }
    return true
  }
}

/// A socket that listens on a loopback port of the system's choice.
final class TCPListener: @unchecked Sendable {
  // Closed once, which ends `accept`: its number is somebody else's afterwards.
  private let descriptor: Int32
  private let isClosed = Atomic<Bool>(false)
  let port: Int

  init() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    guard withLoopback(0, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 64) == 0 else {
      throw CommandFailure(description: "listen: \(String(cString: strerror(errno)))")
    }
    var address = sockaddr_in()
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = getsockname(descriptor, $0, &length)
      }
    }
    self.descriptor = descriptor
    port = Int(UInt16(bigEndian: address.sin_port))
  }

  /// The next connection, or `nil` once it is closed. Blocks the thread.
  func accept() -> TCPConnection? {
    let accepted = Glibc.accept(descriptor, nil, nil)
    return accepted >= 0 ? TCPConnection(descriptor: accepted) : nil
  }

  func close() {
    guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    shutdown(descriptor, Int32(SHUT_RDWR))
    Glibc.close(descriptor)
  }
}

/// A TCP port that nobody listens on now.
public func unusedPort() throws -> Int {
  let listener = try TCPListener()
  listener.close()
  return listener.port
}

private func withLoopback<Value>(
  _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
) -> Value {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  address.sin_port = UInt16(port).bigEndian
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}
