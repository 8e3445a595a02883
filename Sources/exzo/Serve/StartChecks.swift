import Compute
import Foundation
import Glibc
import NIOSSL

/// What stands in the way of a start, found before anything is started.
///
/// An address may be taken between the check and its use; that start fails too, only later.
struct StartChecks {
  let options: ServeOptions

  /// - Throws: ``ServeError`` that names the thing, the cause and the way out.
  func run(major: Int) throws {
    do {
      try MachineCheck().run()
      _ = try PostgresInstallation.find(
        major: major, environment: ProcessInfo.processInfo.environment)
      _ = try ObjectStoreURL(options.objectStore)
    } catch let error as ComputeError {
      throw ServeError(error.message, hint: error.hint)
    }
    try checkCertificate()
    try checkAddress(options.http, option: "--http")
    try checkAddress(options.postgres, option: "--postgres")
  }

  private func checkCertificate() throws {
    guard let certificate = options.tlsCertificate, let key = options.tlsKey else { return }
    do {
      _ = try NIOSSLCertificate.fromPEMFile(certificate)
    } catch {
      throw ServeError(
        "read the certificate '\(certificate)': \(error)",
        hint: "--tls-cert names a file with the certificate chain in PEM")
    }
    do {
      _ = try NIOSSLPrivateKey(file: key, format: .pem)
    } catch {
      throw ServeError(
        "read the certificate's key '\(key)': \(error)",
        hint: "--tls-key names a file with the key in PEM, not encrypted")
    }
  }

  /// Listens for a moment, as the services will.
  private func checkAddress(_ address: SocketAddressOption, option: String) throws {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE
    var found: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(address.host, "\(address.port)", &hints, &found)
    guard code == 0, let first = found else {
      throw ServeError(
        "listen on \(address): find the host: \(String(cString: gai_strerror(code)))",
        hint: "\(option) takes HOST:PORT with a name or address of this machine")
    }
    defer { freeaddrinfo(found) }
    let probe = socket(first.pointee.ai_family, first.pointee.ai_socktype, 0)
    guard probe >= 0 else {
      throw ServeError("listen on \(address): \(String(cString: strerror(errno)))")
    }
    defer { close(probe) }
    // Connections of a former serve that are not quite gone do not count.
    var reuse: Int32 = 1
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
    guard bind(probe, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0,
      listen(probe, 1) == 0
    else {
      throw ServeError(
        "listen on \(address): \(String(cString: strerror(errno)))",
        hint: "choose another address with \(option); "
          + "'ss -ltnp sport = :\(address.port)' shows who listens there")
    }
  }
}
