/// What a client asks to be connected to.
public struct ProxyTarget: Sendable, Hashable {
  public enum Name: Sendable, Hashable {
    /// `ep-…`, without `-pooler`.
    case endpoint(String)
    /// `br-…`: a session at a moment of this branch.
    case branch(String)
  }

  /// A moment as the client wrote it; the directory reads it.
  public enum Moment: Sendable, Hashable {
    case lsn(String)
    case timestamp(String)
  }

  public var name: Name
  /// `-pooler` stood after the endpoint id.
  public var isPooled: Bool
  public var moment: Moment?

  public init(name: Name, isPooled: Bool = false, moment: Moment? = nil) {
    self.name = name
    self.isPooled = isPooled
    self.moment = moment
  }

  /// The id, of either kind.
  public var id: String {
    switch name {
    case .endpoint(let id), .branch(let id): id
    }
  }
}

extension ProxyTarget {
  static let poolerSuffix = "-pooler"
  /// A DNS label holds no more.
  static let longestName = 63

  /// Reads `ep-…`, `ep-…-pooler` or `br-…`, in any case; nil for anything else.
  init?(label: some StringProtocol) {
    var text = label.lowercased()
    guard text.utf8.count <= Self.longestName,
      text.utf8.allSatisfy({ Self.isNameByte($0) })
    else { return nil }
    let isPooled = text.hasSuffix(Self.poolerSuffix)
    if isPooled { text.removeLast(Self.poolerSuffix.count) }
    guard text.count > 3 else { return nil }
    switch text.prefix(3) {
    case "ep-": self.init(name: .endpoint(text), isPooled: isPooled)
    case "br-": self.init(name: .branch(text), isPooled: isPooled)
    default: return nil
    }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2D
  }

  /// The target that a TLS server name means: its first label, when the rest is `domain`.
  init?(serverName: String, domain: String?) {
    guard let domain, let dot = serverName.firstIndex(of: ".") else { return nil }
    var rest = serverName[serverName.index(after: dot)...].lowercased()
    if rest.hasSuffix(".") { rest.removeLast() }
    guard rest == domain.lowercased() else { return nil }
    self.init(label: serverName[..<dot])
  }
}
