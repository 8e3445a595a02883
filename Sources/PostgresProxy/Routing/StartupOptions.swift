/// The `options` startup parameter, with what is meant for the proxy taken out of it.
///
/// PostgreSQL splits it at white space, a backslash escaping the next character
/// (`pg_split_opts` in postinit.c). Ours are `endpoint=…`, as its own word or after `-c` or `--`,
/// `exzo_lsn:…`, `exzo_timestamp:…`, also with `=` and with `neon_` for `exzo_`, and `exzo_client:…`.
struct StartupOptions: Equatable {
  /// The endpoint option's value; it may still be no valid name.
  var endpoint: String?
  var moment: ProxyTarget.Moment?
  /// `SECRET/ADDRESS` of one who connects for somebody else; not checked yet.
  var client: String?
  /// The other words as they were, joined by a space; nil when there are none.
  var forwarded: String?

  /// - Throws: ``ProxyRefusal`` when one option of ours stands twice with two values.
  init(_ text: String) throws(ProxyRefusal) {
    var words = Self.split(text)[...]
    var kept: [Substring] = []
    while let word = words.popFirst() {
      if word.raw == "-c", let next = words.first {
        if try take(next.text) {
          words.removeFirst()
        } else {
          kept.append(word.raw)
        }
      } else if try !take(Self.withoutPrefix(word.text)) {
        kept.append(word.raw)
      }
    }
    forwarded = kept.isEmpty ? nil : kept.joined(separator: " ")
  }

  private static func withoutPrefix(_ word: String) -> String {
    for prefix in ["-c", "--"] where word.hasPrefix(prefix) {
      return String(word.dropFirst(prefix.count))
    }
    return word
  }

  /// Takes the word when it is one of ours.
  private mutating func take(_ word: String) throws(ProxyRefusal) -> Bool {
    guard let separator = word.firstIndex(where: { $0 == "=" || $0 == ":" }) else { return false }
    let value = String(word[word.index(after: separator)...])
    switch (word[..<separator], word[separator]) {
    case ("endpoint", "="):
      try set(\.endpoint, value, option: "endpoint")
    case ("exzo_lsn", _), ("neon_lsn", _):
      try set(\.moment, .lsn(value), option: "exzo_lsn")
    case ("exzo_timestamp", _), ("neon_timestamp", _):
      try set(\.moment, .timestamp(value), option: "exzo_timestamp")
    case ("exzo_client", _):
      try set(\.client, value, option: "exzo_client")
    default:
      return false
    }
    return true
  }

  private mutating func set<Value: Equatable>(
    _ field: WritableKeyPath<StartupOptions, Value?>, _ value: Value, option: String
  ) throws(ProxyRefusal) {
    if let earlier = self[keyPath: field], earlier != value {
      throw ProxyRefusal(
        sqlState: "08004", message: "option '\(option)' contradicts another option",
        hint: "Name one endpoint, and at most one moment as LSN or as timestamp.")
    }
    self[keyPath: field] = value
  }

  /// The words as they stand and with escapes undone.
  private static func split(_ text: String) -> [(raw: Substring, text: String)] {
    var words: [(raw: Substring, text: String)] = []
    var index = text.startIndex
    while index < text.endIndex {
      guard !text[index].isSpaceOfC else {
        index = text.index(after: index)
        continue
      }
      let start = index
      var word = ""
      while index < text.endIndex, !text[index].isSpaceOfC {
        if text[index] == "\\" {
          index = text.index(after: index)
          guard index < text.endIndex else { break }
        }
        word.append(text[index])
        index = text.index(after: index)
      }
      words.append((text[start..<index], word))
    }
    return words
  }
}

extension Character {
  /// C's `isspace` in the C locale; a CR LF pair is one character in Swift.
  fileprivate var isSpaceOfC: Bool { " \t\n\u{B}\u{C}\r\r\n".contains(self) }
}
