import Foundation

/// A number that does not fit into the type asked for. JSONDecoder says of it what it says of text that is no JSON,
/// and names no field: this finds it.
struct UnfitNumber {
  /// As in ``APICodingError``.
  private(set) var field: String
  private(set) var value: Double

  /// Numbers that are looked at; a request has few that are not whole.
  private static let limit = 16

  /// - Parameter isRefused: whether JSON is refused as if it were none.
  /// - Returns: `nil` where `json` is none.
  init?(in json: Data, isRefused: (Data) -> Bool) {
    // What cannot be read, or written again, is told as before.
    guard let tree = try? JSONSerialization.jsonObject(with: json, options: .fragmentsAllowed)
    else { return nil }
    var found: [UnfitNumber] = []
    Self.collect(tree, at: "", into: &found)
    let guilty = found.first { candidate in
      let alone = Self.keeping(candidate.field, in: tree, at: "")
      let text = try? JSONSerialization.data(withJSONObject: alone, options: .fragmentsAllowed)
      return text.map(isRefused) ?? false
    }
    guard let guilty else { return nil }
    self = guilty
  }

  private init(field: String, value: Double) {
    self.field = field
    self.value = value
  }

  /// The value of a number that is no whole one of 64 bits.
  private static func unfit(_ value: Any) -> Double? {
    guard let number = value as? NSNumber, Int(exactly: number.doubleValue) == nil else {
      return nil
    }
    return number.doubleValue
  }

  private static func collect(_ value: Any, at here: String, into found: inout [UnfitNumber]) {
    guard found.count < limit else { return }
    switch value {
    case let fields as [String: Any]:
      for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
        collect(value, at: path(here, key), into: &found)
      }
    case let list as [Any]:
      for (index, value) in list.enumerated() {
        collect(value, at: "\(here)[\(index)]", into: &found)
      }
    default:
      if let number = unfit(value) { found.append(UnfitNumber(field: here, value: number)) }
    }
  }

  /// The tree with 0 in the place of every such number but that of a field.
  private static func keeping(_ field: String, in value: Any, at here: String) -> Any {
    switch value {
    case let fields as [String: Any]:
      return Dictionary(
        uniqueKeysWithValues: fields.map { key, value in
          (key, keeping(field, in: value, at: path(here, key)))
        })
    case let list as [Any]:
      return list.enumerated().map { keeping(field, in: $1, at: "\(here)[\($0)]") }
    default: return here != field && unfit(value) != nil ? 0 : value
    }
  }

  private static func path(_ here: String, _ key: String) -> String {
    here.isEmpty ? key : "\(here).\(key)"
  }
}

extension KeyedDecodingContainer {
  /// A whole number where there is one. What is none is told with the range that is allowed; a whole one may
  /// be out of it: who knows what else is asked for tells that.
  func wholeNumber(_ key: Key, in range: ClosedRange<Int>) throws -> Int? {
    do {
      return try decodeIfPresent(Int.self, forKey: key)
    } catch {
      // What is no number has an error of its own.
      guard let number = try? decode(Double.self, forKey: key) else { throw error }
      throw DecodingError.dataCorruptedError(
        forKey: key, in: self,
        debugDescription: "is \(number), must be a whole number from \(range.lowerBound) to "
          + "\(range.upperBound)")
    }
  }
}
