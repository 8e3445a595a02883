/// The id of one kind of object: text on the wire and in the catalog, a type of its own in code.
public struct Identifier<Object>: RawRepresentable, Hashable, Comparable, Codable, Sendable {
  public let rawValue: String

  public init(rawValue: String) { self.rawValue = rawValue }
  public init(_ rawValue: String) { self.rawValue = rawValue }

  public init(from decoder: any Decoder) throws {
    rawValue = try decoder.singleValueContainer().decode(String.self)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(rawValue)
  }

  public static func < (a: Identifier, b: Identifier) -> Bool { a.rawValue < b.rawValue }
}

extension Identifier: CustomStringConvertible {
  public var description: String { rawValue }
}

public typealias AccountID = Identifier<AccountRecord>
public typealias ProjectID = Identifier<ProjectRecord>
public typealias BranchID = Identifier<BranchRecord>
public typealias CatalogLineID = Identifier<LineRecord>
public typealias EndpointID = Identifier<EndpointRecord>
public typealias ComputeID = Identifier<ComputeRecord>
public typealias OperationID = Identifier<OperationRecord>
public typealias SnapshotID = Identifier<SnapshotRecord>
public typealias ScheduleItemID = Identifier<ScheduleItemRecord>
public typealias DumpID = Identifier<DumpRecord>
