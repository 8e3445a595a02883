import APITypes
import ControlPlane
import Foundation
import Synchronization

/// Dumps in memory whose bytes tell what they are of.
public final class SimulatedDumpTools: DumpTools {
  private struct State {
    var dumps: [String: [UInt8]] = [:]
    var calls: [String] = []
    var failures: [String: [DumpError]] = [:]
    var altered = false
    var isHeld = false
    var owner = "exzodb_owner"
    var committed: [String] = []
    var operations: Set<String> = []
  }

  private let state = Mutex(State())

  public init() {}

  public var calls: [String] { state.withLock { $0.calls } }
  /// Ids of dumps that are kept.
  public var kept: Set<String> { state.withLock { Set($0.dumps.keys) } }

  /// The next calls of `name`, such as `make` or `make DATABASE FORMAT`, throw these.
  public func fail(_ name: String, with errors: [DumpError]) {
    state.withLock { $0.failures[name, default: []] += errors }
  }

  /// Whether what is restored differs from its source by a row.
  public func alterRestores(_ altered: Bool) { state.withLock { $0.altered = altered } }

  /// While held, dumps that are being made report their progress and do not end, nor does what is brought back.
  public func hold(_ isHeld: Bool) { state.withLock { $0.isHeld = isHeld } }

  private func note(_ name: String, _ subject: String) throws {
    try state.withLock { state in
      state.calls.append("\(name) \(subject)")
      for key in ["\(name) \(subject)", name] {
        guard let error = state.failures[key]?.first else { continue }
        state.failures[key]?.removeFirst()
        throw error
      }
    }
  }

  public func make(
    _ order: DumpOrder, from compute: RunningCompute,
    progress: @escaping @Sendable (API.DumpProgress) async throws -> Void
  ) async throws -> StoredDump {
    try await progress(API.DumpProgress(bytes: 0, tablesDone: 0, tablesTotal: 1))
    try note("make", "\(order.database) \(order.format.rawValue)")
    while state.withLock({ $0.isHeld }) {
      try await Task.sleep(for: .milliseconds(5))
      try await progress(API.DumpProgress(bytes: 7, tablesDone: 0, tablesTotal: 1))
    }
    let bytes = Array("\(order.database) of \(compute.lineID)".utf8)
    state.withLock { $0.dumps[order.id] = bytes }
    return StoredDump(
      sizeBytes: bytes.count, sha256: String(repeating: "0", count: 64), tables: 1)
  }

  public func remove(dump: String, project: String) async throws {
    try note("remove", dump)
    state.withLock { _ = $0.dumps.removeValue(forKey: dump) }
  }

  private struct File: DumpFile {
    var bytes: [UInt8]
    var size: Int { bytes.count }
    func read(from offset: Int, to end: Int) async throws -> [UInt8] {
      Array(bytes[offset..<min(end, offset + 7)])
    }
  }

  public func open(dump: String, project: String) async throws -> any DumpFile {
    guard let bytes = state.withLock({ $0.dumps[dump] }) else {
      throw DumpError("open dump '\(dump)': the object store does not hold it")
    }
    return File(bytes: bytes)
  }

  public func globals(ofDump dump: String, project: String) async throws -> String {
    "CREATE ROLE exzodb_owner;\n"
  }

  public func contents(of database: String, on compute: RunningCompute) async throws
    -> DatabaseContents
  {
    try note("contents", database)
    let isScratch = compute.computeID.hasPrefix("compute-")
    let rows = isScratch && state.withLock { $0.altered } ? 9 : 10
    return DatabaseContents(
      tables: ["\"public\".\"t\"": .init(rows: rows, hash: "1/2")], sequences: [:],
      largeObjects: .init(rows: 0, hash: "0"), schema: "CREATE TABLE t ();\n")
  }

  /// Who owns what is restored from now on.
  public func setOwner(_ owner: String) { state.withLock { $0.owner = owner } }
  /// Databases and tables that were committed, each as often as that happened.
  public var committed: [String] { state.withLock { $0.committed } }

  public func restore(
    _ order: RestoreOrder, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws {
    if order.isGone, !order.isCommitted {
      try note("give up", order.database)
      throw DumpError("restore dump '\(order.dump)': it was deleted")
    }
    try await bring(
      order.database, as: "restore", order.operation, isCommitted: order.isCommitted,
      note: "role 'gone' was made, without a password and unable to log in", committed)
  }

  public func recover(
    _ order: TableOrder, from past: RunningCompute, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws {
    try await bring(
      order.table, as: "recover", order.operation, isCommitted: order.isCommitted,
      note: "10 rows are in '\(order.newName ?? order.table)'", committed)
  }

  /// The work happens once for an operation, whatever is called how often.
  private func bring(
    _ subject: String, as name: String, _ operation: String, isCommitted: Bool, note text: String,
    _ committed: @Sendable (RestoreOutcome) async throws -> Void
  ) async throws {
    try note(isCommitted ? "tidy" : name, subject)
    guard !isCommitted else { return }
    while state.withLock({ $0.isHeld }) { try await Task.sleep(for: .milliseconds(5)) }
    let owner = state.withLock { state in
      if state.operations.insert(operation).inserted { state.committed.append(subject) }
      return state.owner
    }
    try await committed(RestoreOutcome(notes: [text], owner: owner))
    try note("tidy", subject)
  }

  public func removeHistory(line: String) async throws { try note("remove_history", line) }
}
