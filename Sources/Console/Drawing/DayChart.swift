import Foundation

/// Bars by day.
struct DayChart {
  struct Day {
    var label: String
    var value: Double
    var text: String
  }

  let title: String
  let days: [Day]

  private static let size = (width: 480.0, height: 132.0)

  var svg: String {
    let (width, height) = Self.size
    let highest = days.map(\.value).max() ?? 0
    let slot = (width - 8) / Double(max(days.count, 1))
    var parts = [SVG.path("M4 \(SVG.number(height - 20))H\(SVG.number(width - 4))", "grid")]
    for (index, day) in days.enumerated() {
      let bar = highest > 0 ? (height - 34) * day.value / highest : 0
      parts.append(
        SVG.rect(
          4 + Double(index) * slot + 1, height - 20 - bar, max(1, slot - 2), bar, "day",
          radius: 1.5,
          title: "\(day.label): \(day.text)"))
    }
    if let first = days.first, let last = days.last {
      parts.append(SVG.text(4, height - 5, first.label, "axis"))
      parts.append(SVG.text(width - 4, height - 5, last.label, "axis end"))
    }
    return
      "<svg viewBox=\"0 0 \(SVG.number(width)) \(SVG.number(height))\" class=\"chart\" role=\"img\" aria-label=\"\(SVG.escape(title)) by day\">\(parts.joined())</svg>"
  }
}
