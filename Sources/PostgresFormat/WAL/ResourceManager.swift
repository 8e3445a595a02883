/// Which part of PostgreSQL wrote a record and redoes it. Source: `access/rmgrlist.h`.
public struct ResourceManager: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8

  @inlinable
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let xlog = ResourceManager(rawValue: 0)
  public static let transaction = ResourceManager(rawValue: 1)
  public static let storage = ResourceManager(rawValue: 2)
  public static let commitLog = ResourceManager(rawValue: 3)
  public static let database = ResourceManager(rawValue: 4)
  public static let tablespace = ResourceManager(rawValue: 5)
  public static let multiXact = ResourceManager(rawValue: 6)
  public static let relationMap = ResourceManager(rawValue: 7)
  public static let standby = ResourceManager(rawValue: 8)
  public static let heap2 = ResourceManager(rawValue: 9)
  public static let heap = ResourceManager(rawValue: 10)
  public static let btree = ResourceManager(rawValue: 11)
  public static let hash = ResourceManager(rawValue: 12)
  public static let gin = ResourceManager(rawValue: 13)
  public static let gist = ResourceManager(rawValue: 14)
  public static let sequence = ResourceManager(rawValue: 15)
  public static let spGist = ResourceManager(rawValue: 16)
  public static let brin = ResourceManager(rawValue: 17)
  public static let commitTimestamp = ResourceManager(rawValue: 18)
  public static let replicationOrigin = ResourceManager(rawValue: 19)
  public static let generic = ResourceManager(rawValue: 20)
  public static let logicalMessage = ResourceManager(rawValue: 21)

  /// The first id that extensions may register (`RM_MIN_CUSTOM_ID`, 15 and later).
  static let firstCustom: UInt8 = 128

  /// `RmgrIdIsValid` of PostgreSQL: built in or custom.
  @inlinable
  public var isKnown: Bool { rawValue <= 21 || rawValue >= 128 }

  /// The name that `pg_waldump` prints.
  public var name: String {
    guard rawValue < ResourceManager.names.count else {
      let digits = String(rawValue)
      let padded = String(repeating: "0", count: max(0, 3 - digits.count)) + digits
      return rawValue >= ResourceManager.firstCustom ? "custom\(padded)" : "unknown\(padded)"
    }
    return ResourceManager.names[Int(rawValue)]
  }

  private static let names = [
    "XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap",
    "Standby", "Heap2", "Heap", "Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN",
    "CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage",
  ]
}
