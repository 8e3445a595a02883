import Synchronization

/// Values used last, up to a sum of costs.
///
/// Safe from several threads; the lock is held for a look-up only. Two threads that miss the same
/// key at once both make the value; one of the two stays.
final class BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  fileprivate struct Node {
    var key: Key
    var value: Value
    var cost: Int
    /// Neighbours in order of use; -1 at the ends.
    var newer: Int
    var older: Int
  }

  fileprivate struct State {
    var places: [Key: Int] = [:]
    var nodes: [Node?] = []
    var free: [Int] = []
    var newest = -1
    var oldest = -1
    var cost = 0
  }

  private let state = Mutex(State())
  private let limit: Int

  /// - Parameter limit: sum of the costs kept; a single value above it is kept alone.
  init(limit: Int) { self.limit = limit }

  var cost: Int { state.withLock { $0.cost } }

  func value(_ key: Key, cost: (Value) -> Int, make: () throws -> Value) rethrows -> Value {
    if let found = state.withLock({ $0.use(key) }) { return found }
    let value = try make()
    let price = cost(value)
    return state.withLock { state in
      if let first = state.use(key) { return first }
      state.insert(key, value, price)
      while state.cost > limit, state.oldest != state.newest { state.removeOldest() }
      return value
    }
  }
}

extension BoundedCache.State {
  mutating func use(_ key: Key) -> Value? {
    guard let place = places[key] else { return nil }
    if place != newest {
      unlink(place)
      link(place)
    }
    return nodes[place]!.value
  }

  mutating func insert(_ key: Key, _ value: Value, _ price: Int) {
    let node = BoundedCache.Node(key: key, value: value, cost: price, newer: -1, older: -1)
    let place: Int
    if let reused = free.popLast() {
      place = reused
      nodes[place] = node
    } else {
      place = nodes.count
      nodes.append(node)
    }
    places[key] = place
    cost += price
    link(place)
  }

  mutating func removeOldest() {
    let place = oldest
    unlink(place)
    cost -= nodes[place]!.cost
    places[nodes[place]!.key] = nil
    nodes[place] = nil
    free.append(place)
  }

  private mutating func unlink(_ place: Int) {
    let (newer, older) = (nodes[place]!.newer, nodes[place]!.older)
    if newer >= 0 { nodes[newer]!.older = older } else { newest = older }
    if older >= 0 { nodes[older]!.newer = newer } else { oldest = newer }
  }

  private mutating func link(_ place: Int) {
    nodes[place]!.newer = -1
    nodes[place]!.older = newest
    if newest >= 0 { nodes[newest]!.newer = place } else { oldest = place }
    newest = place
  }
}
