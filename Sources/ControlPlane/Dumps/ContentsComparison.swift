import APITypes
import Foundation

/// Compares what a dump's source held with what was restored of it.
package struct ContentsComparison: Sendable {
  let source: DatabaseContents
  let restored: DatabaseContents
  /// What the source's schema reads like once it was loaded anew; `nil` where that was not tried.
  package var expectedSchema: String?

  private static let differencesLimit = 100
  private static let diffLimit = 2000

  package init(source: DatabaseContents, restored: DatabaseContents) {
    self.source = source
    self.restored = restored
  }

  package var schemaDiffers: Bool { source.schema != restored.schema }

  package func verification(at date: Date, notes: [String]) -> API.DumpVerification {
    let differences = tables + sequences + largeObjects + schema
    var shown = Array(differences.prefix(Self.differencesLimit))
    if differences.count > shown.count {
      shown.append("and \(differences.count - shown.count) more")
    }
    return API.DumpVerification(
      status: differences.isEmpty ? .passed : .failed, checkedAt: date,
      tables: source.tables.count, rows: source.tables.values.reduce(0) { $0 + $1.rows },
      sequences: source.sequences.count, largeObjects: source.largeObjects.rows,
      differences: shown, notes: source.notes + notes.filter { !source.notes.contains($0) })
  }

  private var tables: [String] {
    Set(source.tables.keys).union(restored.tables.keys).sorted().compactMap { name in
      switch (source.tables[name], restored.tables[name]) {
      case (let a?, let b?) where a.rows != b.rows:
        "table \(name): \(a.rows) rows in the source, \(b.rows) restored"
      case (let a?, let b?) where a.hash != b.hash:
        "table \(name): \(a.rows) rows, with other content"
      case (.some, nil): "table \(name): it was not restored"
      case (nil, .some): "table \(name): the source does not have it"
      default: nil
      }
    }
  }

  private var sequences: [String] {
    Set(source.sequences.keys).union(restored.sequences.keys).sorted().compactMap { name in
      let (a, b) = (source.sequences[name], restored.sequences[name])
      return a == b
        ? nil : "sequence \(name): \(a ?? "absent") in the source, \(b ?? "absent") restored"
    }
  }

  private var largeObjects: [String] {
    guard source.largeObjects != restored.largeObjects else { return [] }
    return [
      "large objects: \(source.largeObjects.rows) in the source, \(restored.largeObjects.rows) "
        + "restored, or with other content"
    ]
  }

  private var schema: [String] {
    guard schemaDiffers, expectedSchema != restored.schema else { return [] }
    let diff = UnifiedDiff(from: expectedSchema ?? source.schema, to: restored.schema).text(
      fromName: "source", toName: "restored")
    return ["schema:\n\(diff.prefix(Self.diffLimit))"]
  }
}
