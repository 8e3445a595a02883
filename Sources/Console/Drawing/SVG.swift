import Foundation

/// Text that goes into SVG or HTML, and the elements that drawings are made of.
enum SVG {
  static func escape(_ text: String) -> String {
    var result = ""
    for character in text.unicodeScalars {
      switch character {
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }

  static func number(_ value: Double) -> String {
    let rounded = (value * 10).rounded() / 10
    return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
  }

  static func rect(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String,
    radius: Double = 0, title: String? = nil
  ) -> String {
    let inner = title.map { "<title>\(escape($0))</title>" } ?? ""
    let corner = radius > 0 ? " rx=\"\(number(radius))\"" : ""
    return
      "<rect x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(max(0, width)))\" height=\"\(number(max(0, height)))\" class=\"\(style)\"\(corner)>\(inner)</rect>"
  }

  static func text(_ x: Double, _ y: Double, _ text: String, _ style: String) -> String {
    "<text x=\"\(number(x))\" y=\"\(number(y))\" class=\"\(style)\">\(escape(text))</text>"
  }

  static func path(_ data: String, _ style: String) -> String {
    "<path d=\"\(data)\" class=\"\(style)\"/>"
  }
}
