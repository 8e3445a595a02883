import PostgresClient

/// One page of a list that is ordered by a column and, where that is equal, by id.
public struct PageRequest: Sendable, Hashable {
  public enum Order: String, Sendable {
    case ascending = "ASC"
    case descending = "DESC"
  }

  public var limit: Int
  /// The last row of the page before, as ``Page/next`` told it.
  public var after: PagePosition?
  public var order: Order

  public init(limit: Int, after: PagePosition? = nil, order: Order = .descending) {
    self.limit = limit
    self.after = after
    self.order = order
  }
}

/// Where a page ended: the sort column's text and the id of its last row.
public struct PagePosition: Codable, Sendable, Hashable {
  public var value: String
  public var id: String

  public init(value: String, id: String) {
    self.value = value
    self.id = id
  }
}

/// Rows, and where the next page starts; `nil` on the last one.
public struct Page<Element: Sendable>: Sendable {
  public var elements: [Element]
  public var next: PagePosition?
}

extension CatalogTransaction {
  /// One page of rows that match `condition`, whose parameters come first.
  ///
  /// - Parameters:
  ///   - column: the sort column, not NULL; never a caller's text.
  ///   - type: its SQL type.
  /// - Throws: ``CatalogError`` `.undecodable` for a position that is not of that type.
  func page<Record: CatalogRecord>(
    _ request: PageRequest, of type: Record.Type, by column: String, _ columnType: String,
    where condition: String, _ parameters: [PostgresValue?]
  ) throws -> Page<Record> {
    var sql = condition
    var values = parameters
    if let after = request.after {
      let mark = request.order == .ascending ? ">" : "<"
      let number = values.count
      sql += " AND (t.\(column), t.id) \(mark) ($\(number + 1)::\(columnType), $\(number + 2))"
      values += [.text(after.value), .text(after.id)]
    }
    let direction = request.order.rawValue
    let result = try connection.query(
      """
      SELECT to_jsonb(t), t.\(column)::text, t.id::text FROM exzo.\(Record.table) AS t
      WHERE \(sql) ORDER BY t.\(column) \(direction), t.id \(direction) LIMIT \(request.limit + 1)
      """, parameters: values)
    let rows = result.rows.prefix(request.limit)
    let elements: [Record] = try rows.map(RecordCoding.record)
    guard result.rowCount > request.limit, let last = rows.last else {
      return Page(elements: elements, next: nil)
    }
    return Page(elements: elements, next: PagePosition(value: last[1] ?? "", id: last[2] ?? ""))
  }

  /// The LIKE pattern that matches `text` anywhere.
  static func pattern(_ text: String) -> String {
    var pattern = "%"
    for character in text {
      if "\\%_".contains(character) { pattern.append("\\") }
      pattern.append(character)
    }
    return pattern + "%"
  }
}
