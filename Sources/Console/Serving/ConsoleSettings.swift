import Foundation

/// How the Console is reached, and what it points to.
public struct ConsoleSettings: Sendable {
  /// Names by which browsers may reach it, without ports, lower case. Loopback's are always allowed.
  public var hosts: Set<String>
  /// Whether browsers come over TLS.
  public var usesTLS: Bool
  /// Where users help each other; the operator's choice.
  public var communityURL: String?
  /// Templates and static files are read from here at each use instead of from the program: for
  /// whoever works on them.
  public var assetDirectory: String?

  public init(
    hosts: Set<String> = [], usesTLS: Bool = false, communityURL: String? = nil,
    assetDirectory: String? = nil
  ) {
    self.hosts = Set(hosts.map { $0.lowercased() }).union(Self.loopback)
    self.usesTLS = usesTLS
    // Nothing but the web: the link stands on a page.
    self.communityURL = communityURL.flatMap {
      $0.hasPrefix("https://") || $0.hasPrefix("http://") ? $0 : nil
    }
    self.assetDirectory = assetDirectory
  }

  private static let loopback: Set<String> = ["localhost", "127.0.0.1", "::1"]

  /// Whether a request's `Host` is one of ours. A page of another name that resolves to this machine
  /// (DNS rebinding) is not.
  func admits(host header: String) -> Bool {
    var name = header.lowercased()
    if name.hasPrefix("["), let end = name.firstIndex(of: "]") {
      name = String(name[name.index(after: name.startIndex)..<end])
    } else if let colon = name.lastIndex(of: ":") {
      name = String(name[..<colon])
    }
    return hosts.contains(name)
  }
}
