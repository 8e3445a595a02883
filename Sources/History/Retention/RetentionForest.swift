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
      guard let ancestors = ancestors(ofUndescribed: line, demands) else { return Set(lines.keys) }
      result.formUnion(ancestors)
    }
    return result
  }

  /// Lines that one whose description cannot be read may descend from, as the catalog has it; `nil` where that does
  /// not tell.
  ///
  /// A parent that is not in the store was removed when nothing descended from it, or was never made: then one of its
  /// own ancestors is the line's, or none.
  private func ancestors(
    ofUndescribed line: LineID, _ demands: [LineID: LineDemand]
  ) -> [LineID]? {
    var passed: Set<LineID> = []
    var next = line
    while passed.insert(next).inserted {
      switch demands[next]?.ancestry ?? .unknown {
      case .unknown: return nil
      case .root: return []
      case .line(let parent):
        if lines[parent] != nil || undescribed.contains(parent) { return lineage(of: parent) }
        next = parent
      }
    }
    return nil
  }
}
