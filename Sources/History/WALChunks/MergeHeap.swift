/// The sources of a merge, the one with the least place first.
struct MergeHeap<Element: Comparable> {
  private var elements: [Element] = []

  var first: Element? { elements.first }

  mutating func push(_ element: Element) {
    elements.append(element)
    var child = elements.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard elements[child] < elements[parent] else { return }
      elements.swapAt(child, parent)
      child = parent
    }
  }

  /// Moves the first on, and takes it out where `advance` says that it is at its end. There must be one.
  mutating func advanceFirst(_ advance: (inout Element) throws -> Bool) rethrows {
    if try !advance(&elements[0]) {
      let last = elements.removeLast()
      if elements.isEmpty { return }
      elements[0] = last
    }
    siftDown()
  }

  private mutating func siftDown() {
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < elements.count {
        if elements[child] < elements[least] { least = child }
      }
      if least == parent { return }
      elements.swapAt(parent, least)
      parent = least
    }
  }
}
