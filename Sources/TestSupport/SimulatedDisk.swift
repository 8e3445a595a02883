import DurableIO
import Glibc

struct SimulatedFailure: Error {
  var code: Int32
}

/// What ``SimulatedFileSystem`` holds: files and directories, what of them is durable, and the
/// fault to come.
struct SimulatedDisk: Sendable {
  enum Change: Sendable {
    case write(Int, [UInt8])
    case truncate(Int)
    /// A name appears (for a node) or goes away.
    case name(String, Int?)
  }

  struct Node: Sendable {
    var isDirectory: Bool
    var bytes: [UInt8] = []
    var names: [String: Int] = [:]
    var durableBytes: [UInt8] = []
    var durableNames: [String: Int] = [:]
    var pending: [Change] = []

    mutating func apply(_ change: Change) {
      pending.append(change)
      perform(change)
    }

    mutating func perform(_ change: Change) {
      switch change {
      case .write(let offset, let data):
        grow(to: offset + data.count)
        bytes.withUnsafeMutableBytes { bytes in
          data.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + data.count])
              .copyMemory(from: $0)
          }
        }
      case .truncate(let size):
        if size < bytes.count { bytes.removeLast(bytes.count - size) }
        grow(to: size)
      case .name(let name, let node): names[name] = node
      }
    }

    private mutating func grow(to size: Int) {
      if size > bytes.count { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
    }

    mutating func makeDurable() {
      pending = []
      durableBytes = bytes
      durableNames = names
    }
  }

  static let root = 0
  var nodes = [Node(isDirectory: true)]
  var calls = 0
  var syncs = 0
  var failAt: Int?
  var failCode = EIO
  var isSticky = false
  var powerLossAt: Int?
  var isDead = false

  init(nodes: [Node] = [Node(isDirectory: true)]) { self.nodes = nodes }

  mutating func countCall() throws(SimulatedFailure) {
    if isDead { throw SimulatedFailure(code: EIO) }
    calls += 1
    if let failAt, calls == failAt || (isSticky && calls > failAt) {
      throw SimulatedFailure(code: failCode)
    }
  }

  mutating func countSync() throws(SimulatedFailure) {
    syncs += 1
    if let powerLossAt, syncs >= powerLossAt {
      isDead = true
      throw SimulatedFailure(code: EIO)
    }
  }

  // MARK: Names

  func find(_ path: String) -> Int? {
    var at = Self.root
    for part in path.split(separator: "/") {
      guard let next = nodes[at].names[String(part)] else { return nil }
      at = next
    }
    return at
  }

  func lookup(_ path: String) throws(SimulatedFailure) -> Int {
    guard let found = find(path) else { throw SimulatedFailure(code: ENOENT) }
    return found
  }

  /// Sets or removes a name in its directory, which exists.
  mutating func change(_ path: String, _ node: Int?) {
    let parts = path.split(separator: "/")
    guard let name = parts.last, let directory = find(parts.dropLast().joined(separator: "/"))
    else { return }
    nodes[directory].apply(.name(String(name), node))
  }

  mutating func open(
    _ path: String, _ mode: OpenMode
  ) throws(SimulatedFailure) -> Int {
    if let found = find(path) {
      if mode == .createNew { throw SimulatedFailure(code: EEXIST) }
      return found
    }
    guard mode == .createNew || mode == .createReadWrite,
      find(path.split(separator: "/").dropLast().joined(separator: "/")) != nil
    else { throw SimulatedFailure(code: ENOENT) }
    nodes.append(Node(isDirectory: false))
    change(path, nodes.count - 1)
    return nodes.count - 1
  }

  mutating func makeDirectory(_ path: String) throws(SimulatedFailure) {
    var at = ""
    for part in path.split(separator: "/") {
      at += "/\(part)"
      if let found = find(at) {
        guard nodes[found].isDirectory else { throw SimulatedFailure(code: ENOTDIR) }
        continue
      }
      nodes.append(Node(isDirectory: true))
      change(at, nodes.count - 1)
    }
  }

  mutating func flip(_ path: String, _ offset: Int) {
    guard let node = find(path) else { return }
    nodes[node].bytes[offset] ^= 0x40
    nodes[node].makeDurable()
  }

  // MARK: Power loss

  /// Every node as the disk has it after the power went.
  func survivor(_ random: inout SeededRandom) -> [Node] {
    nodes.map { node in
      var kept = node
      kept.bytes = node.durableBytes
      kept.names = node.durableNames
      if node.isDirectory {
        let count = random.below(node.pending.count + 1)
        for change in node.pending.prefix(count) { kept.perform(change) }
      } else {
        let style = random.below(4)
        for change in node.pending { Self.keepByChance(change, of: &kept, style, &random) }
      }
      kept.makeDurable()
      return kept
    }
  }

  /// Style 0 keeps nothing, 1 everything, 2 and 3 pieces of 512 and 4,096 bytes by chance.
  private static func keepByChance(
    _ change: Change, of node: inout Node, _ style: Int, _ random: inout SeededRandom
  ) {
    guard style != 0 else { return }
    guard style > 1, case .write(let offset, let data) = change else {
      if style == 1 || random.below(2) == 0 { node.perform(change) }
      return
    }
    let unit = style == 2 ? 512 : 4096
    var done = 0
    while done < data.count {
      let end = min(data.count, (offset + done) / unit * unit + unit - offset)
      if random.below(4) != 0 {
        node.perform(.write(offset + done, Array(data[done..<end])))
      }
      done = end
    }
  }
}

/// SplitMix64: the same numbers from the same seed everywhere.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  /// A number from 0 to below `bound`.
  public mutating func below(_ bound: Int) -> Int { Int(next(upperBound: UInt64(bound))) }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
