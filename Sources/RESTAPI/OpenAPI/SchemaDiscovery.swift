import APITypes
import Foundation

/// Finds the JSON schema of a wire type by decoding one from nothing and noting what it asks for,
/// so that the OpenAPI document cannot differ from the code.
enum SchemaDiscovery {
  /// - Throws: where a type decodes itself in a way that cannot be followed; a defect that the
  /// tests find.
  static func schema(of type: any Decodable.Type) throws -> JSONValue {
    if let known = try known(type) { return known }
    let notes = Notes()
    _ = try type.init(from: Discoverer(notes: notes))
    return notes.schema
  }

  private static func known(_ type: any Decodable.Type) throws -> JSONValue? {
    switch type {
    case is String.Type: return ["type": "string"]
    case is Date.Type: return ["type": "string", "format": "date-time"]
    case is Bool.Type: return ["type": "boolean"]
    case is Int.Type: return ["type": "integer", "format": "int64"]
    case is Double.Type: return ["type": "number", "format": "double"]
    case is API.Selection.Type:
      return [
        "oneOf": [
          ["type": "string", "enum": ["all"]], ["type": "array", "items": ["type": "string"]],
        ]
      ]
    case let words as any WireEnumeration.Type:
      return ["type": "string", "enum": .list(words.words.map { .text($0) })]
    case let nullable as any NullableType.Type:
      guard case .object(var members) = try schema(of: nullable.wrapped) else { return nil }
      members["nullable"] = true
      return .object(members)
    case let list as any ElementType.Type:
      let element = try schema(of: list.element)
      return list.isMap
        ? ["type": "object", "additionalProperties": element] : ["type": "array", "items": element]
    default: return nil
    }
  }

  /// A value of `type` that decoding can go on with.
  static func sample<Value: Decodable>(_ type: Value.Type) throws -> Value {
    switch type {
    case is String.Type: if let value = "" as? Value { return value }
    case is Date.Type: if let value = Date(timeIntervalSince1970: 0) as? Value { return value }
    case is Bool.Type: if let value = false as? Value { return value }
    case is Int.Type: if let value = 0 as? Value { return value }
    case is Double.Type: if let value = 0.0 as? Value { return value }
    case is API.Selection.Type: if let value = API.Selection.all as? Value { return value }
    case let words as any WireEnumeration.Type:
      if let value = words.sample as? Value { return value }
    case let list as any ElementType.Type: if let value = list.empty as? Value { return value }
    case let nullable as any NullableType.Type:
      if let value = nullable.null as? Value { return value }
    default: break
    }
    return try Value(from: Discoverer(notes: Notes()))
  }
}

extension WireEnumeration {
  fileprivate static var words: [String] { allCases.map(\.rawValue) }
  fileprivate static var sample: Any? { allCases.first }
}

/// A field that is always there and may be null.
private protocol NullableType {
  static var wrapped: any Decodable.Type { get }
  static var null: Any { get }
}

extension API.Nullable: NullableType {
  static var wrapped: any Decodable.Type { Value.self }
  static var null: Any { API.Nullable<Value>(nil) }
}

/// Arrays and dictionaries with text keys, whose element type is wanted.
private protocol ElementType {
  static var element: any Decodable.Type { get }
  static var isMap: Bool { get }
  static var empty: Any { get }
}

extension Array: ElementType where Element: Decodable {
  static var element: any Decodable.Type { Element.self }
  static var isMap: Bool { false }
  static var empty: Any { [Element]() }
}

extension Dictionary: ElementType where Key == String, Value: Decodable {
  static var element: any Decodable.Type { Value.self }
  static var isMap: Bool { true }
  static var empty: Any { [String: Value]() }
}

/// What a type asked for.
private final class Notes {
  var properties: [String: JSONValue] = [:]
  var required: [String] = []
  var single: JSONValue?

  var schema: JSONValue {
    if let single { return single }
    var object: [String: JSONValue] = ["type": "object", "properties": .object(properties)]
    if !required.isEmpty { object["required"] = .list(required.map { .text($0) }) }
    return .object(object)
  }
}

private struct Discoverer: Decoder {
  let notes: Notes
  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(Keys(notes: notes))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw Unsupported() }

  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw Unsupported() }
}

private struct Unsupported: Error {}

private struct Keys<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let notes: Notes
  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { [] }

  /// Always so, so that fields of PATCH bodies are asked for, too.
  func contains(_ key: Key) -> Bool { true }
  func decodeNil(forKey key: Key) throws -> Bool { false }

  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    notes.properties[key.stringValue] = try SchemaDiscovery.schema(of: type)
    notes.required.append(key.stringValue)
    return try SchemaDiscovery.sample(type)
  }

  func decodeIfPresent<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value? {
    notes.properties[key.stringValue] = try SchemaDiscovery.schema(of: type)
    return nil
  }

  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? { try optional(type, key) }
  func decodeIfPresent(_ type: Double.Type, forKey key: Key) throws -> Double? {
    try optional(type, key)
  }

  private func optional<Value: Decodable>(_ type: Value.Type, _ key: Key) throws -> Value? {
    notes.properties[key.stringValue] = try SchemaDiscovery.schema(of: type)
    return nil
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { throw Unsupported() }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    throw Unsupported()
  }
  func superDecoder() throws -> any Decoder { throw Unsupported() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw Unsupported() }
}
