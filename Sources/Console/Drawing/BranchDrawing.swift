import APITypes
import Foundation

/// Branches as a tree over time: each a bar from its creation to now, the part that can be restored
/// darker, with a line from where its parent was left.
struct BranchDrawing {
  let tree: BranchTree
  let project: API.Project
  let now: Date

  private static let width = 1000.0
  private static let gutter = 210.0
  private static let rowHeight = 34.0
  private static let top = 26.0

  var svg: String {
    guard !tree.rows.isEmpty else { return "" }
    let height = Self.top + Double(tree.rows.count) * Self.rowHeight + 8
    var parts = axis(height)
    for (index, row) in tree.rows.enumerated() { parts += draw(row, index) }
    return
      "<svg viewBox=\"0 0 \(SVG.number(Self.width)) \(SVG.number(height))\" class=\"tree\" role=\"group\" aria-label=\"Branches over time\">\(parts.joined())</svg>"
  }

  private var start: Date {
    let first = tree.rows.map { min($0.branch.createdAt, left($0.branch)) }.min()
    return min(first ?? now, now.addingTimeInterval(-60))
  }

  /// When a branch left its parent; the time of a head is not always known.
  private func left(_ branch: API.Branch) -> Date {
    guard let time = branch.parentTimestamp, time.timeIntervalSince1970 > 0 else {
      return branch.createdAt
    }
    return time
  }

  private func x(_ date: Date) -> Double {
    let whole = now.timeIntervalSince(start)
    let part = min(max(date.timeIntervalSince(start), 0), whole)
    return Self.gutter + (Self.width - Self.gutter - 12) * part / whole
  }

  private func y(_ row: Int) -> Double { Self.top + (Double(row) + 0.5) * Self.rowHeight }

  private func axis(_ height: Double) -> [String] {
    (0...4).flatMap { step -> [String] in
      let date = start.addingTimeInterval(now.timeIntervalSince(start) * Double(step) / 4)
      let place = x(date)
      let text = String(RFC3339.text(date).prefix(16)).replacing("T", with: " ")
      let label =
        now.timeIntervalSince(start) > 172_800 ? String(text.prefix(10)) : String(text.suffix(5))
      return [
        SVG.path("M\(SVG.number(place)) 20V\(SVG.number(height - 6))", "grid"),
        SVG.text(
          place, 13, step == 4 ? "now" : label,
          step == 0 ? "axis" : step == 4 ? "axis end" : "axis mid"),
      ]
    }
  }

  private func draw(_ row: BranchTree.Row, _ index: Int) -> [String] {
    let branch = row.branch
    let middle = y(index)
    let left = x(branch.createdAt)
    let right = x(now)
    let promised = now.addingTimeInterval(-Double(project.historyRetentionSeconds))
    let window = x(max(branch.createdAt, promised))
    var parts: [String] = []
    if let parent = row.parent {
      let from = x(self.left(branch))
      parts.append(
        SVG.path(
          "M\(SVG.number(from)) \(SVG.number(y(parent) + 6))V\(SVG.number(middle))H\(SVG.number(left))",
          "fork"))
    }
    let indent = Double(min(row.depth, 6)) * 12
    let name = branch.name.count > 24 ? branch.name.prefix(23) + "…" : branch.name[...]
    let href =
      "/projects/\(PageContext.escape(project.id))/branches/\(PageContext.escape(branch.id))"
    let size = branch.logicalSize.map { Format.bytes($0) } ?? ""
    parts += [
      SVG.rect(
        left, middle - 6, right - left, 12, "bar", radius: 3, title: "\(branch.name) \(size)"),
      SVG.rect(window, middle - 6, right - window, 12, "bar window", radius: 3),
      "<a href=\"\(SVG.escape(href))\">\(SVG.text(6 + indent, middle + 4, String(name), "label"))</a>",
    ]
    return parts
  }
}
