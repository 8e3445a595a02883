import History

/// Pages that could not be made ahead of reads, and why.
///
/// A single damaged chain must not keep all other pages from being made. But while one is missing, the line cannot leave
/// its base: nothing else would be left to make it from.
struct PagesNotMade: Sendable {
  private(set) var count = 0
  private(set) var first: String?
  /// Nothing is made until the disk has room.
  var waitsForRoom = false

  /// More than so many are an object that is gone or a store that is away: all is tried again later.
  static let limit = 64

  /// - Throws: `error`, where there are too many.
  mutating func note(_ error: any Error) throws {
    count += 1
    if first == nil { first = "\(error)" }
    if count > PagesNotMade.limit { throw error }
  }

  /// What somebody has to look at; `nil` while all is well.
  var alarm: String? {
    if waitsForRoom {
      return "pages are not made ahead of reads: the disk has less than "
        + "\(MadePages.reserve >> 30) GiB free"
    }
    return first.map { "\(count) pages cannot be made: \($0); run 'exzo verify'" }
  }

  /// Whether an error says something of single pages, and will say it again.
  static func isOfHistory(_ error: any Error) -> Bool {
    if let error = error as? HistoryError {
      return [.damaged, .wrongObject, .missing, .gap, .badWAL, .badPage].contains(error.code)
    }
    return (error as? ComputeError)?.code == .damagedHistory
  }
}
