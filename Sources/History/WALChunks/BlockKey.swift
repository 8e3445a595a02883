import PostgresFormat

/// A block of a relation's fork, as WAL names it.
public struct BlockKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var locator: RelFileLocator
  public var fork: ForkNumber
  public var block: UInt32

  public init(_ locator: RelFileLocator, _ fork: ForkNumber = .main, block: UInt32) {
    self.locator = locator
    self.fork = fork
    self.block = block
  }

  public static func < (a: BlockKey, b: BlockKey) -> Bool {
    if a.locator != b.locator { return a.locator < b.locator }
    return a.fork == b.fork ? a.block < b.block : a.fork < b.fork
  }

  /// As `1663/5/16384_vm block 3`.
  public var description: String {
    "\(locator)" + (fork == .main ? "" : "_\(fork.name)") + " block \(block)"
  }

  var relation: RelationFork { RelationFork(locator: locator, fork: fork) }
}

/// A fork of a relation.
struct RelationFork: Hashable, Comparable, Sendable {
  var locator: RelFileLocator
  var fork: ForkNumber

  static func < (a: RelationFork, b: RelationFork) -> Bool {
    a.locator == b.locator ? a.fork < b.fork : a.locator < b.locator
  }
}

extension RelationFork {
  /// Bytes of the stored form.
  static let encodedSize = 13

  func encode(to writer: inout BinaryWriter) {
    writer.append(locator)
    writer.append(fork.rawValue)
  }

  init(from reader: inout BinaryReader) throws {
    locator = try reader.readLocator()
    guard let fork = ForkNumber(rawValue: try reader.read()) else {
      throw reader.malformed("a fork")
    }
    self.fork = fork
  }
}
