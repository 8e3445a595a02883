import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Schemas of databases at any moment, and how two of them differ.
public struct SchemaService: Sendable {
  let core: Core
  private var tools: any SchemaTools { core.schemaTools }

  /// A branch at a moment; both `lsn` and `time` absent are the head.
  public struct Place: Sendable {
    public var branch: BranchID
    public var lsn: String?
    public var time: Date?
    /// What the moment's fields are called, for messages.
    public var prefix: String

    public init(branch: BranchID, lsn: String?, time: Date?, prefix: String = "") {
      self.branch = branch
      self.lsn = lsn
      self.time = time
      self.prefix = prefix
    }
  }

  public func schema(
    of database: String, at place: Place, asJSON: Bool, project: ProjectID, account: AccountID
  ) async throws -> API.BranchSchemaResponse {
    try await open(place, database, project, account) { [tools] compute in
      asJSON
        ? API.BranchSchemaResponse(json: try await tools.tables(of: database, on: compute))
        : API.BranchSchemaResponse(
          sql: Self.withoutKey(try await tools.dumpSchema(of: database, on: compute)))
    }
  }

  /// The unified diff that leads from `base` to `place`; `base` is the branch's parent, at the
  /// moment where the branch starts, where it is `nil`.
  public func compare(
    _ database: String, at place: Place, with base: Place?, project: ProjectID, account: AccountID
  ) async throws -> String {
    let other: Place
    if let base {
      other = base
    } else {
      other = try await parent(of: place.branch, project, account)
    }
    let texts = try await [other, place].asyncMap { place in
      try await open(place, database, project, account) { [tools] compute in
        Self.withoutKey(try await tools.dumpSchema(of: database, on: compute))
      }
    }
    return UnifiedDiff(from: texts[0], to: texts[1]).text(
      fromName: "a/\(database).sql", toName: "b/\(database).sql")
  }

  /// Without the lines that guard psql and hold a key that is new each time (`\\restrict KEY`).
  package static func withoutKey(_ dump: String) -> String {
    let lines = dump.split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first(where: { $0.hasPrefix("\\restrict ") }) else { return dump }
    let key = first.dropFirst("\\restrict ".count)
    return lines.filter { $0 != first && $0 != "\\unrestrict \(key)" }.joined(separator: "\n")
  }

  private func parent(
    of id: BranchID, _ project: ProjectID, _ account: AccountID
  ) async throws -> Place {
    let branch = try await core.catalog.read { tx in
      try core.branch(tx, id, of: try core.project(tx, project, of: account).id)
    }
    guard let parent = branch.parentID else {
      throw ControlPlaneError(
        .badValue, "'base_branch_id' is required: branch '\(branch.name)' has no parent")
    }
    return Place(branch: parent, lsn: nil, time: nil, prefix: "base_")
  }

  /// Runs `body` with a compute at the moment: the branch's own where its head is meant and it runs,
  /// else one that can only read.
  private func open<Value: Sendable>(
    _ place: Place, _ database: String, _ project: ProjectID, _ account: AccountID,
    _ body: @Sendable (RunningCompute) async throws -> Value
  ) async throws -> Value {
    let moment = try MomentRequest(
      lsn: place.lsn, time: place.time, names: ("\(place.prefix)lsn", "\(place.prefix)timestamp"))
    let (resolver, live) = try await core.catalog.read { tx -> (MomentResolver, RunningCompute?) in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, place.branch, of: project.id)
      guard moment == .head else { return (try MomentResolver(core, project, branch, tx), nil) }
      guard let known = try tx.database(database, of: branch.id), !known.isDropped else {
        throw ControlPlaneError(
          .databaseNotFound,
          "read the schema of '\(database)' of branch '\(branch.name)': there is no such database")
      }
      let endpoint = try tx.endpoints(of: branch.id).first {
        $0.type == .readWrite && $0.state == .active && $0.pendingState == nil
      }
      let compute = try endpoint.flatMap { try tx.compute(of: $0.id) }
      return (try MomentResolver(core, project, branch, tx), compute?.running)
    }
    if let live, await core.fleet.running().contains(where: { $0.computeID == live.computeID }) {
      return try await body(live)
    }
    return try await core.reading.use(
      try await resolver.resolve(moment), of: resolver.branch, resolver.project, core, body)
  }
}

extension Array {
  /// One after the other.
  fileprivate func asyncMap<Value>(
    _ transform: (Element) async throws -> Value
  ) async rethrows -> [Value] {
    var values: [Value] = []
    for element in self { values.append(try await transform(element)) }
    return values
  }
}
