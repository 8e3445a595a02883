import ControlPlane
import Foundation
import PostgresFormat
import Synchronization

/// Servers that live elsewhere, and lines that follow them, in memory.
public final class SimulatedSources: Sendable {
  private struct State {
    var servers: [String: (description: SourceDescription, password: String)] = [:]
    var statuses: [String: FollowStatus] = [:]
    /// Lines whose agent runs.
    var running: Set<String> = []
    var slots: Set<String> = []
    var refusals: [String: ComputeFleetError] = [:]
    /// Lines whose last WAL the store does not take, and those whose last WAL was given up.
    var unstored: Set<String> = []
    var lost: Set<String> = []
    var releaseFailures: [ComputeFleetError] = []
  }

  private let state = Mutex(State())

  public init() {}

  /// Names of slots that are on servers.
  public var slots: Set<String> { state.withLock { $0.slots } }
  /// Lines that are followed now.
  public var followed: Set<String> { state.withLock { $0.running } }
  /// Lines whose last WAL was given up.
  public var lost: Set<String> { state.withLock { $0.lost } }

  /// A server at `host:5432`.
  /// - Parameters:
  ///   - startedAt: when it began; two names with one such time are one server.
  ///   - followers: its slots of ours, and whether somebody streams from each.
  ///   - freeBytes: what is free on the disk that it would be copied to; `nil` where nobody looked.
  ///   - notes: what is different on this machine.
  public func add(
    _ host: String, system: UInt64, password: String, startedAt: Int? = nil,
    followers: [String: Bool] = [:], bytes: Int = 1000, freeBytes: Int? = nil,
    notes: [String]? = nil
  ) {
    var description = SourceDescription(
      systemIdentifier: system, serverVersion: "15.1", major: 15, segmentSize: 16 << 20,
      hasChecksums: true, bootstrapRole: "postgres", databases: ["postgres", "app"], settings: [:],
      bytes: bytes)
    description.freeBytes = freeBytes
    description.notes = notes
    description.startedAt = startedAt
    description.followers = followers
    let server = description
    state.withLock { $0.servers[host] = (server, password) }
  }

  /// Nobody answers at `host` any more.
  public func remove(_ host: String) { state.withLock { $0.servers[host] = nil } }

  /// How far a line is from now on; before that it copies.
  public func set(_ phase: FollowStatus.Phase, of line: String, failure: String? = nil) {
    state.withLock { state in
      var status = Self.copying
      status.phase = phase
      status.failure = failure
      state.statuses[line] = status
    }
  }

  /// Nothing begins to follow on a line, for this reason; `nil` lets it again.
  public func refuse(_ line: String, with error: ComputeFleetError?) {
    state.withLock { $0.refusals[line] = error }
  }

  /// The next endings of a following throw these, before anything is done.
  public func failReleases(with errors: [ComputeFleetError]) {
    state.withLock { $0.releaseFailures += errors }
  }

  /// Whether the store takes what came last on a line.
  public func set(isStored: Bool, of line: String) {
    state.withLock { state in
      state.unstored.remove(line)
      if !isStored { state.unstored.insert(line) }
    }
  }

  /// Nothing comes in of a line's server any more; all that it wrote until `time` has.
  public func setAway(_ line: String, heldUntil time: Date, seconds: Double) {
    state.withLock { state in
      var status = Self.copying
      status.phase = .following
      status.isStreaming = false
      status.heldUntil = time
      status.awaySeconds = seconds
      state.statuses[line] = status
    }
  }

  func heldUntil(line: String) -> Date? {
    state.withLock { state in
      status(line, state).flatMap { $0.isStreaming ? nil : $0.heldUntil }
    }
  }

  private static let copying = FollowStatus(
    phase: .copying, copiedBytes: 1, totalBytes: 10, failure: nil, isStreaming: true,
    sourceLSN: LSN(100), receivedLSN: LSN(100), uploadedLSN: LSN(100), lagSeconds: 0)

  private func server(
    _ server: AttachedServer, _ state: State
  ) throws -> SourceDescription {
    guard let found = state.servers[server.host] else {
      throw ComputeFleetError(.permanent, "talk to the source: connection refused")
    }
    guard found.password == server.password else {
      throw ComputeFleetError(.permanent, "talk to the source: password authentication failed")
    }
    return found.description
  }

  func inspect(_ source: AttachedServer) throws -> SourceDescription {
    try state.withLock { try server(source, $0) }
  }

  func follow(_ request: FollowRequest) throws -> FollowStatus {
    try state.withLock { state in
      if let error = state.refusals[request.lineID] { throw error }
      state.running.insert(request.lineID)
      state.slots.insert(request.slot)
      return status(request.lineID, state) ?? Self.copying
    }
  }

  func status(line: String) -> FollowStatus? { state.withLock { status(line, $0) } }

  private func status(_ line: String, _ state: State) -> FollowStatus? {
    guard state.running.contains(line) else { return nil }
    var status = state.statuses[line] ?? Self.copying
    if state.unstored.contains(line) { status.uploadedLSN = LSN(99) }
    return status
  }

  func pause(_ line: String) { state.withLock { _ = $0.running.remove(line) } }

  func store(_ line: String) throws {
    try state.withLock { try store(line, &$0) }
  }

  private func store(_ line: String, _ state: inout State) throws {
    state.running.remove(line)
    guard !state.unstored.contains(line) else {
      throw ComputeFleetError(.temporary, "store the last WAL: the object store is away")
    }
  }

  func release(_ request: FollowRequest, keepsSlot: Bool, givesUpWAL: Bool) throws {
    try state.withLock { state in
      if !state.releaseFailures.isEmpty { throw state.releaseFailures.removeFirst() }
      if givesUpWAL {
        state.running.remove(request.lineID)
        if state.unstored.remove(request.lineID) != nil { state.lost.insert(request.lineID) }
      } else {
        try store(request.lineID, &state)
      }
      guard !keepsSlot else { return }
      _ = try server(request.server, state)
      state.slots.remove(request.slot)
    }
  }
}

extension SimulatedFleet {
  public func inspect(_ source: AttachedServer) async throws -> SourceDescription {
    try sources.inspect(source)
  }
  public func follow(_ request: FollowRequest) async throws -> FollowStatus {
    try sources.follow(request)
  }
  public func followStatus(line: String) async -> FollowStatus? { sources.status(line: line) }
  public func pauseFollowing(line: String) async throws { sources.pause(line) }
  public func storeFollowed(_ request: FollowRequest) async throws {
    try sources.store(request.lineID)
  }
  public func release(
    _ request: FollowRequest, keepsSlot: Bool, givesUpWAL: Bool
  ) async throws {
    try sources.release(request, keepsSlot: keepsSlot, givesUpWAL: givesUpWAL)
  }
}
