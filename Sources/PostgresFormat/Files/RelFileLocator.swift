/// Which relation storage: tablespace, database, relation file number, as WAL names it.
///
/// Source: `RelFileNode` (15), `RelFileLocator` (16 and later). `database` is 0 for shared
/// relations.
public struct RelFileLocator: Hashable, Sendable {
  public var tablespace: UInt32
  public var database: UInt32
  public var relation: UInt32

  @inlinable
  public init(tablespace: UInt32, database: UInt32, relation: UInt32) {
    self.tablespace = tablespace
    self.database = database
    self.relation = relation
  }
}

extension RelFileLocator: Comparable {
  public static func < (a: RelFileLocator, b: RelFileLocator) -> Bool {
    (a.tablespace, a.database, a.relation) < (b.tablespace, b.database, b.relation)
  }
}

extension RelFileLocator: CustomStringConvertible {
  /// As `pg_waldump` prints it: `1663/5/16384`.
  public var description: String { "\(tablespace)/\(database)/\(relation)" }
}

/// One of a relation's files. Source: `common/relpath.h`.
public enum ForkNumber: UInt8, CaseIterable, Hashable, Comparable, Sendable {
  case main = 0
  case freeSpaceMap = 1
  case visibilityMap = 2
  case initialization = 3

  public static func < (a: ForkNumber, b: ForkNumber) -> Bool { a.rawValue < b.rawValue }

  /// PostgreSQL's name of the fork, which file names carry after an underscore (`main` excepted).
  public var name: String {
    switch self {
    case .main: "main"
    case .freeSpaceMap: "fsm"
    case .visibilityMap: "vm"
    case .initialization: "init"
    }
  }
}
