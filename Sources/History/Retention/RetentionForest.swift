import PostgresFormat

/// Lines as they were found in the store, with their ancestors.
struct RetentionForest: Sendable {
  var lines: [LineID: LineContents]
  /// Lines of which not everything could be read: they and their ancestors are left as they are.
  var unreadable: Set<LineID> = []
  /// Lines that are there and whose description cannot be read, so that the store does not tell their ancestors.
  var undescribed: Set<LineID> = []

  /// The line and its ancestors; `nil` where one of them is not there.
  func chain(of line: LineID) -> LineChain? {
    var found: [LineContents] = []
    var next: LineID? = line
    while let line = next {
      guard let contents = lines[line], found.count <= lines.count else { return nil }
      found.append(contents)
      next = contents.description.parent?.line
    }
    return LineChain(lines: found)
  }

  /// The line and its ancestors, as far as they are there.
  func lineage(of line: LineID) -> [LineID] {
    var result: [LineID] = []
    var next: LineID? = line
    while let line = next, !result.contains(line) {
      result.append(line)
      next = lines[line]?.description.parent?.line
    }
    return result
  }

  /// Lines that are left as they are, since what cannot be read may need anything of them.
  func untouched(_ demands: [LineID: LineDemand]) -> Set<LineID> {
    var result = Set(unreadable.flatMap(lineage))
    for line in undescribed {
      switch demands[line]?.ancestry ?? .unknown {
      case .root: continue
      case .line(let parent) where lines[parent] != nil || undescribed.contains(parent):
        result.formUnion(lineage(of: parent))
      case .line, .unknown: return Set(lines.keys)
      }
    }
    return result
  }
}
