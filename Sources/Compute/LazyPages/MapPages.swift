import History
import PostgresFormat
import Volume

/// Pages of the visibility map: two bits for each heap block, after the page header.
/// Source: `access/heap/visibilitymap.c`.
enum VisibilityMapPage {
  /// Clears the bits of heap blocks from `heapBlock` on, as a truncation does.
  static func clear(
    _ page: UnsafeMutableRawBufferPointer, of mapBlock: UInt32, fromHeapBlock heapBlock: UInt32
  ) {
    let perBlock = UInt64(ClearedVisibility.heapBlocksPerMapBlock)
    let first = UInt64(heapBlock).subtractingReportingOverflow(UInt64(mapBlock) * perBlock)
    let within = first.overflow ? 0 : first.partialValue
    guard within < perBlock else { return }
    let header = 24
    let (byte, pair) = Int(within).quotientAndRemainder(dividingBy: 4)
    page[header + byte] &= UInt8((1 << (2 * pair)) - 1)
    guard header + byte + 1 < page.count else { return }
    UnsafeMutableRawBufferPointer(rebasing: page[(header + byte + 1)...])
      .initializeMemory(as: UInt8.self, repeating: 0)
  }
}

/// Pages of the free space map: a byte for each heap block in the leaves of a binary tree, whose upper nodes
/// hold the larger of their two children; three levels of such pages.
///
/// Sources: `storage/fsm_internals.h`, `fsm_logical_to_physical` and `fsm_rebuild_page` in
/// `storage/freespace/`.
enum FreeSpaceMapPage {
  /// Page header and `fp_next_slot`.
  private static let nodes = 28
  private static let upperNodes = blockSize / 2 - 1
  private static let allNodes = blockSize - nodes
  /// Leaves of one page.
  static let slots = UInt32(allNodes - upperNodes)

  /// The first heap block of a page of the lowest level; `nil` for pages above it.
  static func firstHeapBlock(ofBlock block: UInt32) -> UInt64? {
    // One root is enough for all lengths that 32 bits can name; after it each page of the middle level is
    // followed by the leaf pages below it.
    guard block > 0 else { return nil }
    let (middle, inMiddle) = UInt64(block - 1).quotientAndRemainder(dividingBy: UInt64(slots) + 1)
    guard inMiddle > 0 else { return nil }
    return (middle * UInt64(slots) + inMiddle - 1) * UInt64(slots)
  }

  /// Takes away what the page tells of heap blocks from `heapBlock` on. Pages above the lowest level stay: the
  /// server corrects them when it finds less below.
  /// - Returns: whether the page changed.
  static func clear(
    _ page: UnsafeMutableRawBufferPointer, block: UInt32, fromHeapBlock heapBlock: UInt32
  ) -> Bool {
    guard let first = firstHeapBlock(ofBlock: block) else { return false }
    let kept = UInt64(heapBlock) > first ? UInt64(heapBlock) - first : 0
    guard kept < UInt64(slots) else { return false }
    let gone = (nodes + upperNodes + Int(kept))..<blockSize
    guard page[gone].contains(where: { $0 != 0 }) else { return false }
    UnsafeMutableRawBufferPointer(rebasing: page[gone])
      .initializeMemory(as: UInt8.self, repeating: 0)
    for node in stride(from: upperNodes - 1, through: 0, by: -1) {
      let (left, right) = (2 * node + 1, 2 * node + 2)
      let leftValue = left < allNodes ? page[nodes + left] : 0
      let rightValue = right < allNodes ? page[nodes + right] : 0
      page[nodes + node] = max(leftValue, rightValue)
    }
    return true
  }
}
