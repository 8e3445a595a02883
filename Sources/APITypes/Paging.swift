import Foundation

extension API {
  /// The cursor of the next page; the whole object is absent on the last one.
  public struct Pagination: Codable, Hashable, Sendable {
    public var cursor: String

    public init(cursor: String) {
      self.cursor = cursor
    }
  }

  /// The cursor of the next page of branches.
  public struct CursorPagination: Codable, Hashable, Sendable {
    public var next: String?
    public var sortBy: String?
    public var sortOrder: String?

    public init(next: String? = nil, sortBy: String? = nil, sortOrder: String? = nil) {
      self.next = next
      self.sortBy = sortBy
      self.sortOrder = sortOrder
    }

    enum CodingKeys: String, CodingKey {
      case next
      case sortBy = "sort_by"
      case sortOrder = "sort_order"
    }
  }
}
