import Foundation

/// JSON as the API speaks it: snake_case keys as the types name them, RFC 3339 times, absent
/// instead of null.
public enum APICoding {
  /// The JSON of `value`, keys sorted so that equal values give equal bytes.
  public static func encode(_ value: some Encodable) throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.dateEncodingStrategy = .custom { date, encoder in
      var container = encoder.singleValueContainer()
      try container.encode(RFC3339.text(date))
    }
    return try encoder.encode(value)
  }

  /// Decodes `data`; unknown fields are ignored.
  ///
  /// - Throws: ``APICodingError``, which names the field, what was found and what is allowed.
  public static func decode<Value: Decodable>(
    _ type: Value.Type = Value.self, from data: Data
  ) throws -> Value {
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .custom { decoder in
      let container = try decoder.singleValueContainer()
      let text = try container.decode(String.self)
      guard let date = RFC3339.date(text) else {
        throw DecodingError.dataCorruptedError(
          in: container,
          debugDescription: "is '\(text.prefix(64))', must be a time like 2026-11-23T10:00:00Z")
      }
      return date
    }
    do {
      return try decoder.decode(Value.self, from: data)
    } catch let error as DecodingError {
      if isRefusedAsNoJSON(error),
        let number = UnfitNumber(
          in: data, isRefused: { isRefusedAsNoJSON(Value.self, $0, decoder) })
      {
        throw APICodingError(number)
      }
      throw APICodingError(error)
    }
  }

  private static func isRefusedAsNoJSON(_ error: DecodingError) -> Bool {
    guard case .dataCorrupted(let context) = error else { return false }
    return context.codingPath.isEmpty
  }

  private static func isRefusedAsNoJSON<Value: Decodable>(
    _ type: Value.Type, _ data: Data, _ decoder: JSONDecoder
  ) -> Bool {
    do {
      _ = try decoder.decode(Value.self, from: data)
      return false
    } catch let error as DecodingError {
      return isRefusedAsNoJSON(error)
    } catch {
      return false
    }
  }
}

/// JSON that is malformed or does not fit the type asked for.
public struct APICodingError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The field, as `branch.parent_lsn` or `endpoints[0].type`; empty when the body as a whole is
  /// wrong.
  public var field: String
  /// What is wrong, as the end of a sentence that starts with the field.
  public var reason: String

  public init(field: String, reason: String) {
    self.field = field
    self.reason = reason
  }

  init(_ error: DecodingError) {
    switch error {
    case .keyNotFound(let key, let context):
      self.init(field: Self.path(context.codingPath + [key]), reason: "is required")
    case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
      self.init(
        field: Self.path(context.codingPath), reason: "must be \(Self.jsonName(of: type))")
    case .dataCorrupted(let context):
      self.init(
        field: Self.path(context.codingPath),
        reason: context.codingPath.isEmpty ? "is not valid JSON" : context.debugDescription)
    @unknown default:
      self.init(field: "", reason: "cannot be read")
    }
  }

  init(_ number: UnfitNumber) {
    self.init(field: number.field, reason: "is \(number.value), must be a whole number")
  }

  public var description: String {
    field.isEmpty ? "the body \(reason)" : "'\(field)' \(reason)"
  }

  private static func path(_ keys: [any CodingKey]) -> String {
    keys.reduce(into: "") { path, key in
      if let index = key.intValue {
        path += "[\(index)]"
      } else {
        path += (path.isEmpty ? "" : ".") + key.stringValue
      }
    }
  }

  private static func jsonName(of type: any Any.Type) -> String {
    switch type {
    case is String.Type, is Date.Type: "a string"
    case is Bool.Type: "true or false"
    case is Double.Type: "a number"
    case is any FixedWidthInteger.Type: "a whole number"
    case is any ArrayDecoding.Type: "an array"
    default: "an object of the right shape"
    }
  }
}

/// Marks arrays, whose element type is unknown when an error is described.
private protocol ArrayDecoding {}
extension Array: ArrayDecoding {}
