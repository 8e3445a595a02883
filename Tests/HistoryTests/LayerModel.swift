import PostgresFormat
import TestSupport
import Volume

@testable import History

/// What a volume's tree holds, in memory, and random work on it that seals epochs: the oracle for
/// layers.
struct LayerModel {
  private var random: SeededRandom
  private var nextFile: UInt64 = 2
  private var epochNumber: UInt64 = 0
  /// Content of each file: block to seed; blocks not named are zeros.
  private(set) var files: [FileID: [UInt32: UInt64]] = [:]
  private var changed: [FileID: Change] = [:]
  private let blockLimit: UInt32

  private struct Change {
    var floor: UInt32
    var blocks: Set<UInt32> = []
  }

  init(seed: UInt64, blockLimit: UInt32 = 64) {
    random = SeededRandom(seed)
    self.blockLimit = blockLimit
  }

  /// Does some work and seals it.
  mutating func nextEpoch(operations: Int) -> TestEpoch {
    changed = [:]
    for _ in 0..<operations { operate() }
    epochNumber += 1
    let sealed = changed.filter { files[$0.key] != nil }.sorted { $0.key < $1.key }
    var seeds: [BlockAddress: UInt64] = [:]
    for (file, change) in sealed {
      for block in change.blocks {
        seeds[BlockAddress(file: file, block: block)] = files[file]?[block] ?? 0
      }
    }
    return TestEpoch(
      number: epochNumber, tree: tree,
      files: sealed.map {
        EpochFile(id: $0.key, floor: $0.value.floor, blocks: $0.value.blocks.sorted())
      }, seeds: seeds)
  }

  var tree: FileTreeSnapshot {
    testTree(files.keys.map(\.rawValue).sorted(), next: nextFile)
  }

  private mutating func operate() {
    switch Int.random(in: 0..<20, using: &random) {
    case 0, 1: create()
    case 2: if let file = anyFile() { files[file] = nil }
    case 3, 4: if let file = anyFile() { cut(file) }
    default: if let file = anyFile() { write(file) } else { create() }
    }
  }

  private mutating func anyFile() -> FileID? {
    files.keys.sorted().randomElement(using: &random)
  }

  private mutating func create() {
    let file = FileID(nextFile)
    nextFile += 1
    files[file] = [:]
    changed[file] = Change(floor: 0)
  }

  private mutating func cut(_ file: FileID) {
    let floor = UInt32.random(in: 0..<blockLimit, using: &random)
    files[file] = files[file]?.filter { $0.key < floor }
    var change = changed[file] ?? Change(floor: .max)
    change.floor = min(change.floor, floor)
    change.blocks = change.blocks.filter { $0 < floor }
    changed[file] = change
  }

  private mutating func write(_ file: FileID) {
    let start = UInt32.random(in: 0..<blockLimit, using: &random)
    let count = UInt32.random(in: 1...12, using: &random)
    var change = changed[file] ?? Change(floor: .max)
    for block in start..<min(start + count, blockLimit) {
      files[file]?[block] = random.next() | 1
      change.blocks.insert(block)
    }
    changed[file] = change
  }
}
