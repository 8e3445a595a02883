/// The elements of an answer's XML, as far as the store needs them.
///
/// Reads what S3 sends: elements and text. Attributes, comments and declarations are passed over;
/// anything else that is not well-formed ends the reading with an error. Never traps.
struct S3Answer: Sendable {
  struct Element: Sendable {
    var name: String
    var text = ""
    var children: [Element] = []

    func first(_ name: String) -> Element? { children.first { $0.name == name } }
    func all(_ name: String) -> [Element] { children.filter { $0.name == name } }
  }

  struct Malformed: Error {}

  private static let maximumDepth = 16
  let root: Element

  init(_ bytes: [UInt8]) throws {
    var scanner = Scanner(bytes: bytes)
    root = try scanner.document()
  }

  private struct Scanner {
    let bytes: [UInt8]
    var offset = 0

    mutating func document() throws -> Element {
      while true {
        skipSpace()
        guard peek("<") else { throw Malformed() }
        if peek("<?") {
          try skip(past: "?>")
        } else if peek("<!") {
          try skip(past: ">")
        } else {
          return try element(depth: 0)
        }
      }
    }

    mutating func element(depth: Int) throws -> Element {
      guard depth < S3Answer.maximumDepth else { throw Malformed() }
      let tag = try self.tag()
      var element = Element(name: name(of: tag.text))
      if tag.isEmpty { return element }
      while true {
        if peek("</") {
          guard name(of: try self.tag().text.dropFirst()) == element.name else { throw Malformed() }
          return element
        } else if peek("<!--") {
          try skip(past: "-->")
        } else if peek("<") {
          element.children.append(try self.element(depth: depth + 1))
        } else {
          element.text += try text()
        }
      }
    }

    /// `<...>`, without the brackets.
    private mutating func tag() throws -> (text: Substring, isEmpty: Bool) {
      guard let end = bytes[offset...].firstIndex(of: UInt8(ascii: ">")) else { throw Malformed() }
      var inside = bytes[(offset + 1)..<end]
      offset = end + 1
      let isEmpty = inside.last == UInt8(ascii: "/")
      if isEmpty { inside = inside.dropLast() }
      return (Substring(String(decoding: inside, as: UTF8.self)), isEmpty)
    }

    /// Without attributes and namespace.
    private func name(of tag: Substring) -> String {
      let word = tag.prefix { !$0.isWhitespace }
      return String(word.split(separator: ":").last ?? "")
    }

    private mutating func text() throws -> String {
      guard let end = bytes[offset...].firstIndex(of: UInt8(ascii: "<")) else { throw Malformed() }
      defer { offset = end }
      let raw = String(decoding: bytes[offset..<end], as: UTF8.self)
      return raw.contains("&") ? try unescaped(raw) : raw
    }

    private func unescaped(_ raw: String) throws -> String {
      var result = ""
      var rest = Substring(raw)
      while let mark = rest.firstIndex(of: "&") {
        result += rest[..<mark]
        guard let end = rest[mark...].firstIndex(of: ";") else { throw Malformed() }
        result += try character(rest[rest.index(after: mark)..<end])
        rest = rest[rest.index(after: end)...]
      }
      return result + rest
    }

    private func character(_ entity: Substring) throws -> String {
      switch entity {
      case "amp": return "&"
      case "lt": return "<"
      case "gt": return ">"
      case "quot": return "\""
      case "apos": return "'"
      default:
        let number =
          entity.hasPrefix("#x")
          ? UInt32(entity.dropFirst(2), radix: 16)
          : entity.hasPrefix("#") ? UInt32(entity.dropFirst()) : nil
        guard let number, let scalar = UnicodeScalar(number) else { throw Malformed() }
        return String(Character(scalar))
      }
    }

    private func peek(_ text: StaticString) -> Bool {
      let count = text.utf8CodeUnitCount
      guard bytes.count - offset >= count else { return false }
      return text.withUTF8Buffer { $0.elementsEqual(bytes[offset..<offset + count]) }
    }

    private mutating func skip(past text: StaticString) throws {
      while !peek(text) {
        guard offset < bytes.count else { throw Malformed() }
        offset += 1
      }
      offset += text.utf8CodeUnitCount
    }

    private mutating func skipSpace() {
      while offset < bytes.count,
        [0x20, 0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF].contains(bytes[offset])
      { offset += 1 }
    }
  }
}
