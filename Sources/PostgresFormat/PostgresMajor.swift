/// A major version of PostgreSQL whose formats this module knows.
public enum PostgresMajor: Int, CaseIterable, Hashable, Comparable, Codable, Sendable {
  case v14 = 14
  case v15 = 15
  case v16 = 16
  case v17 = 17
  case v18 = 18

  /// The major of a `server_version_num` such as 150013; nil when it is not one of these.
  public init?(versionNumber: Int) { self.init(rawValue: versionNumber / 10_000) }

  public static func < (a: PostgresMajor, b: PostgresMajor) -> Bool { a.rawValue < b.rawValue }

  /// Whether the tests compared this module record by record with binaries of this version (15.x,
  /// 16.14, 18.4). Where this is false the table was only read from PostgreSQL's headers.
  public var isTested: Bool {
    switch self {
    case .v15, .v16, .v18: true
    case .v14, .v17: false
    }
  }

  /// The table of what differs between versions.
  public var format: FormatTable {
    switch self {
    case .v14: .v14
    case .v15: .v15
    case .v16: .v16
    case .v17: .v17
    case .v18: .v18
    }
  }
}
