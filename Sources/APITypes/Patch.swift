extension API {
  /// A field of a PATCH body: left out, null, or a value.
  public enum Patch<Value: Codable & Hashable & Sendable>: Hashable, Sendable {
    /// The field is not in the body: what it names stays as it is.
    case absent
    /// The field is null: what it names is removed.
    case null
    case value(Value)
  }
}

extension API.Patch: Codable {
  /// Decodes a present field; an absent one never gets here, see
  /// ``Swift/KeyedDecodingContainer``'s overload below.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    self = container.decodeNil() ? .null : .value(try container.decode(Value.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .absent, .null: try container.encodeNil()
    case .value(let value): try container.encode(value)
    }
  }
}

extension KeyedDecodingContainer {
  /// Chosen by synthesized `init(from:)` over the generic `decode`, so that an absent field is not
  /// an error.
  func decode<Value>(
    _ type: API.Patch<Value>.Type, forKey key: Key
  ) throws -> API.Patch<Value> {
    guard contains(key) else { return .absent }
    if try decodeNil(forKey: key) { return .null }
    return .value(try decode(Value.self, forKey: key))
  }
}

extension KeyedEncodingContainer {
  /// Chosen by synthesized `encode(to:)`, so that an absent field is left out.
  mutating func encode<Value>(_ patch: API.Patch<Value>, forKey key: Key) throws {
    switch patch {
    case .absent: return
    case .null: try encodeNil(forKey: key)
    case .value(let value): try encode(value, forKey: key)
    }
  }
}
