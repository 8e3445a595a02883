import Foundation
import Testing

/// The part of JSON Schema that OpenAPI 3.0 documents of ours and the reference use.
struct JSONSchema {
  private let document: [String: Any]

  init(_ data: Data) throws {
    document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  /// What is wrong with an answer; empty where it fits. `nil` where the document does not have the
  /// route or status.
  func problems(_ answer: Any, method: String, pattern: String, status: Int) -> [String]? {
    guard let paths = document["paths"] as? [String: Any],
      let item = paths[pattern] as? [String: Any],
      let operation = item[method.lowercased()] as? [String: Any],
      let responses = operation["responses"] as? [String: Any],
      let response = (responses[String(status)] ?? responses["default"]) as? [String: Any],
      let content = resolve(response)["content"] as? [String: Any],
      let json = content["application/json"] as? [String: Any],
      let schema = json["schema"] as? [String: Any]
    else { return nil }
    return check(answer, schema, at: "$")
  }

  var routes: Set<String> {
    let paths = document["paths"] as? [String: [String: Any]] ?? [:]
    return Set(
      paths.flatMap { path, item in
        item.keys.filter { $0 != "parameters" }.map { "\($0.uppercased()) \(path)" }
      })
  }

  private func resolve(_ schema: [String: Any]) -> [String: Any] {
    guard let reference = schema["$ref"] as? String else { return schema }
    var value: Any = document
    for part in reference.split(separator: "/").dropFirst() {
      value = (value as? [String: Any])?[String(part)] ?? [:] as [String: Any]
    }
    return resolve(value as? [String: Any] ?? [:])
  }

  private func check(_ value: Any, _ unresolved: [String: Any], at path: String) -> [String] {
    let schema = resolve(unresolved)
    if let all = schema["allOf"] as? [[String: Any]] {
      return all.flatMap { check(value, $0, at: path) }
    }
    if value is NSNull {
      return schema["nullable"] as? Bool == true ? [] : ["\(path): null"]
    }
    switch schema["type"] as? String ?? (schema["properties"] == nil ? nil : "object") {
    case "object": return checkObject(value, schema, at: path)
    case "array":
      guard let list = value as? [Any], let items = schema["items"] as? [String: Any] else {
        return ["\(path): not an array"]
      }
      return list.enumerated().flatMap { check($1, items, at: "\(path)[\($0)]") }
    case "string": return checkText(value, schema, at: path)
    case "boolean": return isFlag(value) ? [] : ["\(path): not a boolean"]
    case "integer", "number": return checkNumber(value, schema, at: path)
    default: return []
    }
  }

  private func checkObject(_ value: Any, _ schema: [String: Any], at path: String) -> [String] {
    guard let object = value as? [String: Any] else { return ["\(path): not an object"] }
    var problems: [String] = []
    for name in schema["required"] as? [String] ?? [] where object[name] == nil {
      problems.append("\(path).\(name): missing")
    }
    let properties = schema["properties"] as? [String: [String: Any]] ?? [:]
    for (name, member) in object {
      let part = properties[name] ?? schema["additionalProperties"] as? [String: Any]
      if let part { problems += check(member, part, at: "\(path).\(name)") }
    }
    return problems
  }

  private func checkText(_ value: Any, _ schema: [String: Any], at path: String) -> [String] {
    guard let text = value as? String else { return ["\(path): not a string"] }
    var problems: [String] = []
    if let words = schema["enum"] as? [String], !words.contains(text) {
      problems.append("\(path): '\(text)' is not one of \(words)")
    }
    if let pattern = schema["pattern"] as? String,
      text.range(of: pattern, options: .regularExpression) == nil
    {
      problems.append("\(path): '\(text)' does not match \(pattern)")
    }
    if let least = schema["minLength"] as? Int, text.count < least {
      problems.append("\(path): too short")
    }
    let format = schema["format"] as? String
    if format == "date-time", ISO8601DateFormatter().date(from: text.prefix(19) + "Z") == nil {
      problems.append("\(path): '\(text)' is no time")
    }
    if format == "uuid", UUID(uuidString: text) == nil {
      problems.append("\(path): '\(text)' is no UUID")
    }
    return problems
  }

  private func checkNumber(_ value: Any, _ schema: [String: Any], at path: String) -> [String] {
    guard let number = value as? NSNumber, !isFlag(value) else { return ["\(path): not a number"] }
    if schema["type"] as? String == "integer", number.doubleValue.rounded() != number.doubleValue {
      return ["\(path): not an integer"]
    }
    if let least = schema["minimum"] as? NSNumber, number.doubleValue < least.doubleValue {
      return ["\(path): \(number) below \(least)"]
    }
    if let most = schema["maximum"] as? NSNumber, number.doubleValue > most.doubleValue {
      return ["\(path): \(number) above \(most)"]
    }
    return []
  }

  private func isFlag(_ value: Any) -> Bool {
    (value as? NSNumber).map { String(cString: $0.objCType) == "c" } ?? false
  }
}
