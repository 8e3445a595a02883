/// The password form `endpoint=ep-…;password`, for clients that send neither a server name nor
/// options.
struct PasswordForm: Equatable {
  var target: ProxyTarget
  var password: String

  /// - Throws: ``ProxyRefusal`` when the password names no endpoint.
  init(_ text: String) throws(ProxyRefusal) {
    let prefix = "endpoint="
    guard text.hasPrefix(prefix), let semicolon = text.firstIndex(of: ";"),
      let target = ProxyTarget(label: text[..<semicolon].dropFirst(prefix.count))
    else { throw .noEndpoint }
    self.target = target
    password = String(text[text.index(after: semicolon)...])
  }
}
