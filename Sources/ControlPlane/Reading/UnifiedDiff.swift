/// The difference of two texts, line by line, as `diff -u` writes it.
///
/// E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986, as the standard library's
/// `difference(from:)` has it; what the two have in common at their ends is set aside before.
struct UnifiedDiff {
  private enum Line {
    case same(Substring)
    case removed(Substring)
    case added(Substring)
  }

  private let lines: [Line]

  private static let context = 3

  init(from old: String, to new: String) {
    let (a, b) = (Self.split(old), Self.split(new))
    let head = zip(a, b).prefix { $0 == $1 }.count
    let tail = zip(a.dropFirst(head).reversed(), b.dropFirst(head).reversed())
      .prefix { $0 == $1 }.count
    let (oldMiddle, newMiddle) = (a[head..<(a.count - tail)], b[head..<(b.count - tail)])
    lines =
      a[..<head].map(Line.same) + Self.middle(Array(oldMiddle), Array(newMiddle))
      + a[(a.count - tail)...].map(Line.same)
  }

  private static func split(_ text: String) -> [Substring] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last == "" { lines.removeLast() }
    return lines
  }

  private static func middle(_ old: [Substring], _ new: [Substring]) -> [Line] {
    let difference = new.difference(from: old)
    var removed: Set<Int> = []
    var added: Set<Int> = []
    for change in difference {
      switch change {
      case .remove(let offset, _, _): removed.insert(offset)
      case .insert(let offset, _, _): added.insert(offset)
      }
    }
    var (i, j) = (0, 0)
    var lines: [Line] = []
    while i < old.count || j < new.count {
      if i < old.count, removed.contains(i) {
        lines.append(.removed(old[i]))
        i += 1
      } else if j < new.count, added.contains(j) {
        lines.append(.added(new[j]))
        j += 1
      } else {
        lines.append(.same(old[i]))
        i += 1
        j += 1
      }
    }
    return lines
  }

  /// Empty where the texts are equal.
  func text(fromName: String, toName: String) -> String {
    let changed = lines.indices.filter { if case .same = lines[$0] { false } else { true } }
    guard !changed.isEmpty else { return "" }
    var hunks: [Range<Int>] = []
    for index in changed {
      let range = max(0, index - Self.context)..<min(lines.count, index + Self.context + 1)
      if let last = hunks.last, last.upperBound >= range.lowerBound {
        hunks[hunks.count - 1] = last.lowerBound..<range.upperBound
      } else {
        hunks.append(range)
      }
    }
    return "--- \(fromName)\n+++ \(toName)\n" + hunks.map(hunk).joined()
  }

  private func hunk(_ range: Range<Int>) -> String {
    let before = count(lines[..<range.lowerBound])
    let size = count(lines[range])
    // A side without lines is told by the line before it.
    let old = size.old == 0 ? before.old : before.old + 1
    let new = size.new == 0 ? before.new : before.new + 1
    return "@@ -\(old),\(size.old) +\(new),\(size.new) @@\n"
      + lines[range].map { line in
        switch line {
        case .same(let text): " \(text)\n"
        case .removed(let text): "-\(text)\n"
        case .added(let text): "+\(text)\n"
        }
      }.joined()
  }

  private func count(_ lines: ArraySlice<Line>) -> (old: Int, new: Int) {
    lines.reduce(into: (old: 0, new: 0)) { sums, line in
      switch line {
      case .same: sums = (sums.old + 1, sums.new + 1)
      case .removed: sums.old += 1
      case .added: sums.new += 1
      }
    }
  }
}
