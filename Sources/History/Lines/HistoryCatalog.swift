import ObjectStorage

/// Finds the lines in a store, with no metadata database.
public enum HistoryCatalog {
  /// All lines, in order of their identities. Two requests a line.
  ///
  /// A line whose creation did not finish is left out.
  /// - Throws: ``HistoryError`` where the store fails or a description is damaged.
  public static func listLines(_ store: any ObjectStore) async throws -> [LineDescription] {
    let (lines, damages) = try await readLines(store)
    if let first = damages.min(by: { $0.key < $1.key }) { throw first.value }
    return lines
  }

  /// All lines, in order of their identities, and why the descriptions of others cannot be read.
  /// - Throws: ``HistoryError`` where the store fails.
  static func readLines(
    _ store: any ObjectStore
  ) async throws -> (lines: [LineDescription], damages: [LineID: HistoryError]) {
    var lines: [LineDescription] = []
    var damages: [LineID: HistoryError] = [:]
    var after: ObjectKey?
    while true {
      let page: [ObjectListing]
      do {
        page = try await store.list(prefix: LineKeys.allLines, after: after, limit: 1)
      } catch {
        throw HistoryError.from(error, operation: "list", key: LineKeys.allLines)
      }
      guard let first = page.first else { return (lines, damages) }
      let name = first.key.name.dropFirst(LineKeys.allLines.utf8.count).prefix { $0 != "/" }
      guard LineID.isValid(String(name)) else {
        after = first.key
        continue
      }
      let line = LineID(rawValue: String(name))
      after = LineKeys(line: line).end
      do {
        lines.append(try await LineDescription.read(line, store: store))
      } catch let error as HistoryError where error.code == .unknownLine {
        continue
      } catch let error as HistoryError where error.isOfHistory {
        damages[line] = error
      }
    }
  }
}
