import Synchronization

/// Notices which neighbourhoods of objects are read piece by piece, to fetch the rest of one at once.
///
/// A request costs as much as some hundred kilobytes: pages of small relations, say, lie close together, and a server
/// that starts reads many of them one after the other. The first miss in a neighbourhood fetches what is asked for, the
/// second one all of it.
///
/// Concurrency: any thread.
final class Neighbourhoods: Sendable {
  private struct Place: Hashable {
    var object: UInt64
    var number: UInt64
  }

  /// Bytes of a neighbourhood.
  static let size: UInt64 = 256 << 10
  /// Places that are remembered; then it begins anew.
  private static let limit = 8192

  private let missed = Mutex<Set<Place>>([])

  /// - Parameter missing: blocks that have to be fetched.
  /// - Returns: what to fetch; holds `missing`, and may reach beyond the object's end.
  func around(_ missing: Range<UInt64>, of identity: CacheIdentity) -> Range<UInt64> {
    guard UInt64(missing.count) < Neighbourhoods.size else { return missing }
    let number = missing.lowerBound / Neighbourhoods.size
    let isFirst = missed.withLock { missed in
      if missed.count >= Neighbourhoods.limit { missed = [] }
      return missed.insert(Place(object: identity.number, number: number)).inserted
    }
    if isFirst { return missing }
    let start = number * Neighbourhoods.size
    return start..<max(missing.upperBound, start + Neighbourhoods.size)
  }
}
