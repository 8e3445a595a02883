import APITypes
import Foundation
import Yams

/// How answers are printed.
public enum OutputFormat: String, CaseIterable, Sendable {
  case table, json, yaml
}

/// A table's column: its title, and its text for one row.
public struct Column<Row>: Sendable {
  public var title: String
  public var text: @Sendable (Row) -> String

  public init(_ title: String, _ text: @escaping @Sendable (Row) -> String) {
    self.title = title
    self.text = text
  }
}

/// Renders answers: tables for people, the server's own fields for programs.
public enum Output {
  /// Left-aligned columns, two blanks apart; control characters are shown as `?`, so that no name
  /// can drive a terminal.
  public static func table<Row>(_ rows: [Row], _ columns: [Column<Row>]) -> String {
    let cells = [columns.map(\.title)] + rows.map { row in columns.map { clean($0.text(row)) } }
    let widths = columns.indices.map { index in cells.map { $0[index].count }.max() ?? 0 }
    return cells.map { line in
      let padded = zip(line, widths).map { text, width in
        text + String(repeating: " ", count: width - text.count)
      }
      let text = padded.joined(separator: "  ")
      return text.prefix(text.count - text.reversed().prefix { $0 == " " }.count) + "\n"
    }.joined()
  }

  private static func clean(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
  }

  /// The JSON of an answer, indented, keys sorted.
  public static func json(_ data: Data) throws -> String {
    let value = try JSONSerialization.jsonObject(with: data, options: [.fragmentsAllowed])
    let bytes = try JSONSerialization.data(
      withJSONObject: value,
      options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes, .fragmentsAllowed])
    return String(decoding: bytes, as: UTF8.self) + "\n"
  }

  /// The same as YAML. JSON is YAML, so the parser reads it, and no number loses its form.
  public static func yaml(_ data: Data) throws -> String {
    guard let node = try Yams.compose(yaml: String(decoding: data, as: UTF8.self)) else {
      return ""
    }
    return try Yams.serialize(node: block(node), allowUnicode: true, sortKeys: true)
  }

  /// The node without JSON's brackets and quotes where YAML does not need them.
  private static func block(_ node: Node) -> Node {
    switch node {
    case .mapping(let mapping):
      .mapping(.init(mapping.map { ($0.key.plain, block($0.value)) }, .implicit, .block))
    case .sequence(let sequence):
      .sequence(.init(sequence.map(block), .implicit, .block))
    default: node
    }
  }
}

extension Node {
  fileprivate var plain: Node { .scalar(.init(string ?? "", .implicit, .any)) }
}
