import NIOCore

/// What limits know a client's machine by.
enum SourceAddress {
  /// The IPv4 address, or the first 64 bits of the IPv6 one: a client has all the rest of those.
  static func key(_ address: SocketAddress?) -> String {
    switch address {
    case .v4: address?.ipAddress ?? "?"
    case .v6(let address):
      withUnsafeBytes(of: address.address.sin6_addr) { bytes in
        isMapped(bytes)
          ? bytes[12...].map(String.init).joined(separator: ".")
          : bytes[..<8].map { String($0, radix: 16) }.joined(separator: ":") + "::/64"
      }
    default: "local"
    }
  }

  static func isLoopback(_ address: SocketAddress?) -> Bool {
    switch address {
    case .v4(let address):
      withUnsafeBytes(of: address.address.sin_addr) { $0.first == 127 }
    case .v6(let address):
      withUnsafeBytes(of: address.address.sin6_addr) { bytes in
        isMapped(bytes)
          ? bytes[12] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1
      }
    case .unixDomainSocket: true
    case nil: false
    }
  }

  /// `::ffff:a.b.c.d`.
  private static func isMapped(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
  }
}
