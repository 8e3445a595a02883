/// One file of a relation: a fork's segment of up to 1 GiB.
///
/// Source: `GetRelationPath` in `common/relpath.c`, `_mdfd_segpath` in `smgr/md.c`.
public struct RelationFile: Hashable, Sendable {
  public var locator: RelFileLocator
  public var fork: ForkNumber
  public var segment: UInt32
  /// The session that owns a temporary relation; nil for all others.
  public var temporaryBackend: UInt32?

  public init(
    locator: RelFileLocator, fork: ForkNumber = .main, segment: UInt32 = 0,
    temporaryBackend: UInt32? = nil
  ) {
    self.locator = locator
    self.fork = fork
    self.segment = segment
    self.temporaryBackend = temporaryBackend
  }

  /// The number that PostgreSQL gives the file's first block; held at the largest block number.
  public var firstBlock: UInt32 {
    let (block, overflow) = segment.multipliedReportingOverflow(
      by: PostgresLayout.blocksPerSegment)
    return overflow ? .max : block
  }

  /// The file that holds a block of a permanent relation.
  public init(holding block: UInt32, of locator: RelFileLocator, fork: ForkNumber) {
    self.init(
      locator: locator, fork: fork, segment: block / PostgresLayout.blocksPerSegment)
  }

  /// The path below the data directory.
  /// - Parameter versionDirectory: `PG_15_202209061` and the like; see
  ///   ``FormatTable/tablespaceDirectory``.
  public func path(versionDirectory: String) -> String {
    let directory =
      switch locator.tablespace {
      case PostgresLayout.globalTablespace: "global"
      case PostgresLayout.defaultTablespace: "base/\(locator.database)"
      default: "pg_tblspc/\(locator.tablespace)/\(versionDirectory)/\(locator.database)"
      }
    return directory + "/" + name
  }

  /// The file's name without its directory.
  public var name: String {
    var name = temporaryBackend.map { "t\($0)_" } ?? ""
    name += "\(locator.relation)"
    if fork != .main { name += "_" + fork.name }
    if segment > 0 { name += ".\(segment)" }
    return name
  }
}

extension FormatTable {
  /// The name of this version's directory inside a tablespace.
  public var tablespaceDirectory: String { "PG_\(major.rawValue)_\(catalogVersion)" }
}

extension RelationFile {
  /// Parses a file name such as `16384`, `16384_vm.1` or `t3_16384_fsm`; nil for any other name.
  init?(name: Substring, tablespace: UInt32, database: UInt32) {
    var rest = name.utf8[...]
    var backend: UInt32?
    if rest.first == UInt8(ascii: "t") {
      rest = rest.dropFirst()
      guard let number = rest.takeNumber(), rest.first == UInt8(ascii: "_") else { return nil }
      rest = rest.dropFirst()
      backend = number
    }
    guard let relation = rest.takeNumber(), relation != 0 else { return nil }
    var fork = ForkNumber.main
    if rest.first == UInt8(ascii: "_") {
      let suffix = rest.dropFirst().prefix { $0 != UInt8(ascii: ".") }
      guard let named = ForkNumber.allCases.first(where: { suffix.elementsEqual($0.name.utf8) }),
        named != .main
      else { return nil }
      fork = named
      rest = rest.dropFirst(1 + suffix.count)
    }
    var segment: UInt32 = 0
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard let number = rest.takeNumber(), number != 0 else { return nil }
      segment = number
    }
    guard rest.isEmpty else { return nil }
    self.init(
      locator: RelFileLocator(tablespace: tablespace, database: database, relation: relation),
      fork: fork, segment: segment, temporaryBackend: backend)
  }
}

extension Substring.UTF8View {
  /// Takes leading decimal digits without a leading zero (but `0` itself); nil when there are none
  /// or they exceed 32 bits.
  fileprivate mutating func takeNumber() -> UInt32? {
    let digits = prefix { (48...57).contains($0) }
    guard !digits.isEmpty, digits.first != 48 || digits.count == 1 else { return nil }
    guard let number = UInt32(Substring(digits)) else { return nil }
    self = dropFirst(digits.count)
    return number
  }
}
