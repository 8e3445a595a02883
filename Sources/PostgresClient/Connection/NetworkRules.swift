import Glibc

/// Which addresses a server that a user names may have.
///
/// This machine and what is one hop from it (loopback, link-local with the metadata services of clouds) is
/// closed, and so is what is no address of one server (unspecified, multicast, broadcast); unix sockets
/// always are. The operator opens blocks.
public struct NetworkRules: Sendable, Hashable {
  private let opened: [ClosedRange<NetworkAddress>]
  private let text: [String]

  private static let closed: [ClosedRange<NetworkAddress>] = [
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128",
    "::1/128", "fe80::/10", "ff00::/8",
  ].compactMap { NetworkAddress.block($0) }

  /// - Parameter opened: addresses and `ADDRESS/BITS` that are open although they would be closed.
  /// - Throws: ``PostgresError`` `.invalidArgument` naming the entry that is neither.
  public init(opened: [String] = []) throws {
    text = opened
    self.opened = try opened.map { entry in
      let single = NetworkAddress(entry).map { $0...$0 }
      guard let block = single ?? NetworkAddress.block(entry) else {
        throw PostgresError(
          .invalidArgument, "read networks: '\(entry)' is not an address or ADDRESS/BITS")
      }
      return block
    }
  }

  /// The entries that the operator opened, as they were given.
  public var entries: [String] { text }

  /// Whether an address may be connected to.
  public func allows(address: String) -> Bool {
    guard let address = NetworkAddress(address) else { return false }
    if opened.contains(where: { $0.contains(address) }) { return true }
    return !Self.closed.contains { $0.contains(address) }
  }

  /// Looks a host up and gives the first of its addresses that may be connected to. Blocks the thread.
  ///
  /// What is connected to must be this address and not the name: the next look-up may answer another.
  /// - Throws: ``PostgresError``: `.invalidArgument` where none is open, `.connectFailed` where the name is
  ///   unknown.
  public func address(of host: String) throws -> String {
    guard !host.hasPrefix("/"), !host.hasPrefix("@") else {
      throw PostgresError(
        .invalidArgument, "connect to '\(host)': unix sockets are closed",
        hint: "name a host that can be reached over the network")
    }
    let found = try Self.lookUp(host)
    guard let open = found.first(where: { allows(address: $0) }) else {
      throw PostgresError(
        .invalidArgument,
        "connect to '\(host)': its address \(found.joined(separator: ", ")) is closed",
        hint: "the operator opens it with 'exzo serve --attach-networks ADDRESS/BITS'")
    }
    return open
  }

  private static func lookUp(_ host: String) throws -> [String] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, &hints, &list)
    defer { if list != nil { freeaddrinfo(list) } }
    guard code == 0 else {
      throw PostgresError(
        .connectFailed, "look up '\(host)': \(String(cString: gai_strerror(code)))")
    }
    var found: [String] = []
    var next = list
    while let entry = next {
      var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      if getnameinfo(
        entry.pointee.ai_addr, entry.pointee.ai_addrlen, &name, socklen_t(name.count), nil, 0,
        NI_NUMERICHOST) == 0
      {
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let text = String(decoding: bytes, as: UTF8.self)
        if !found.contains(text) { found.append(text) }
      }
      next = entry.pointee.ai_next
    }
    return found
  }
}
