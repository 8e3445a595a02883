/// A closed set of words on the wire. Decoding an unknown word fails with the words that are
/// allowed.
public protocol WireEnumeration: RawRepresentable, CaseIterable, Codable, Hashable, Sendable
where RawValue == String {}

extension WireEnumeration {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let value = Self(rawValue: text) else {
      let words = Self.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "is '\(text.prefix(64))', must be one of \(words)")
    }
    self = value
  }
}
