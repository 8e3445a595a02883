import Foundation

/// A connection URI taken apart, so that its password need not stand in a command line.
public struct ConnectionURI: Sendable, Equatable {
  public var withoutPassword: String
  /// Decoded; nil when the URI holds none.
  public var password: String?

  /// Takes anything: what has no password stays as it is.
  public init(_ uri: String) {
    withoutPassword = uri
    guard let scheme = uri.range(of: "://") else { return }
    let authority = uri[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" }
    guard let at = authority.lastIndex(of: "@"),
      let colon = authority[..<at].firstIndex(of: ":")
    else { return }
    let text = String(authority[authority.index(after: colon)..<at])
    password = text.removingPercentEncoding ?? text
    withoutPassword = String(uri[..<colon]) + String(uri[at...])
  }
}
