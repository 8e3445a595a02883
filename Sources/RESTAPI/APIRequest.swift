import APITypes
import Catalog
import ControlPlane
import Foundation

/// One request after authentication, free of the HTTP library.
struct APIRequest: Sendable {
  var caller: Caller
  /// Values of the route's `{…}` segments, decoded.
  var parameters: [String: String]
  var query: QueryValues
  var body: Data
  /// The client's machine.
  var address = ""
  /// The headers that say which part of a file is wanted.
  var range: String?
  var ifRange: String?

  var account: AccountID { caller.account.id }
  var project: ProjectID { ProjectID(parameters["project_id"] ?? "") }
  var branch: BranchID { BranchID(parameters["branch_id"] ?? "") }
  var dump: DumpID { DumpID(parameters["dump_id"] ?? "") }
  var endpoint: EndpointID { EndpointID(parameters["endpoint_id"] ?? "") }

  func decode<Body: Decodable>(_ type: Body.Type = Body.self) throws -> Body {
    try APICoding.decode(Body.self, from: body)
  }

  /// - Throws: ``ControlPlaneError`` naming the range where `limit` is not in it.
  func page(
    maximum: Int, default standard: Int, order: PageRequest.Order = .descending
  ) throws -> PageRequest {
    let limit = try query.integer("limit", in: 1...maximum) ?? standard
    return PageRequest(limit: limit, after: try Cursor.position(query["cursor"]), order: order)
  }
}

/// The query string's values.
struct QueryValues: Sendable {
  private let values: [String: String]
  private let lists: [String: [String]]

  /// - Parameter text: what follows `?`; of equal names the last counts, but for lists.
  /// - Throws: ``ControlPlaneError`` where an escape is broken.
  init(_ text: Substring) throws {
    var values: [String: String] = [:]
    var lists: [String: [String]] = [:]
    for item in text.split(separator: "&") {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0]).replacing("+", with: " ").removingPercentEncoding
      let raw = parts.count > 1 ? String(parts[1]).replacing("+", with: " ") : ""
      guard let name, let value = raw.removingPercentEncoding, !value.unicodeScalars.contains("\0")
      else {
        throw ControlPlaneError(
          .badValue, "the query '\(item.prefix(64))' is not percent-encoded text")
      }
      values[name] = value
      lists[name, default: []] += value.split(separator: ",").map(String.init)
    }
    self.values = values
    self.lists = lists
  }

  /// All values of a name, each of which may be several with commas between; `nil` where it is
  /// absent or empty.
  func list(_ name: String, atMost maximum: Int) throws -> [String]? {
    guard let items = lists[name] ?? lists["\(name)[]"], !items.isEmpty else { return nil }
    guard items.count <= maximum else {
      throw ControlPlaneError(
        .badValue, "'\(name)' has \(items.count) values, must have at most \(maximum)")
    }
    return items
  }

  /// An RFC 3339 time.
  func time(_ name: String) throws -> Date? {
    guard let text = self[name] else { return nil }
    // A '+' of an offset that was not escaped comes as a blank.
    let first = RFC3339.date(text)
    guard let date = first ?? RFC3339.date(text.replacing(" ", with: "+")) else {
      throw ControlPlaneError(
        .badValue, "'\(name)' is '\(text.prefix(64))', must be a time like 2026-11-23T10:00:00Z")
    }
    return date
  }

  /// `nil` where the parameter is absent or empty.
  subscript(_ name: String) -> String? { values[name].flatMap { $0.isEmpty ? nil : $0 } }

  func integer(_ name: String, in range: ClosedRange<Int>) throws -> Int? {
    guard let text = self[name] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      throw ControlPlaneError(
        .badValue,
        "'\(name)' is '\(text.prefix(64))', must be \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  /// `true`, `True`, `1` and their opposites.
  func flag(_ name: String) throws -> Bool {
    guard let text = self[name] else { return false }
    switch text.lowercased() {
    case "true", "1": return true
    case "false", "0": return false
    default:
      throw ControlPlaneError(.badValue, "'\(name)' is '\(text.prefix(64))', must be true or false")
    }
  }

  func word(_ name: String, oneOf words: [String]) throws -> String? {
    guard let text = self[name] else { return nil }
    guard words.contains(text) else {
      throw ControlPlaneError(
        .badValue,
        "'\(name)' is '\(text.prefix(64))', must be one of \(words.joined(separator: ", "))")
    }
    return text
  }

  func required(_ name: String) throws -> String {
    guard let text = self[name] else {
      throw ControlPlaneError(.badValue, "'\(name)' is required in the query")
    }
    return text
  }
}

/// A page position as clients carry it: opaque text.
enum Cursor {
  static func text(_ position: PagePosition?) throws -> String? {
    try position.map { try APICoding.encode($0).base64EncodedString() }
  }

  static func position(_ text: String?) throws -> PagePosition? {
    guard let text else { return nil }
    // A cursor put into a URL unescaped comes back with blanks for '+'. Any failure to decode
    // means the same.
    guard let data = Data(base64Encoded: text.replacing(" ", with: "+")),
      let position = try? APICoding.decode(PagePosition.self, from: data)
    else {
      throw ControlPlaneError(
        .badValue, "'cursor' is '\(text.prefix(64))', must be one from an earlier answer")
    }
    return position
  }
}
