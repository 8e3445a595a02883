/// What a fleet does with lines that follow servers elsewhere. Every call may be repeated.
public protocol FollowingFleet: Sendable {
  /// Asks a server elsewhere what it is, and whether a line can follow it.
  /// - Throws: ``ComputeFleetError`` `.permanent` with the reason.
  func inspect(_ source: AttachedServer) async throws -> SourceDescription
  /// Makes sure that a line follows its source, and tells how far it is. Idempotent.
  func follow(_ request: FollowRequest) async throws -> FollowStatus
  /// How far a line is with following; `nil` where nothing follows now.
  func followStatus(line: String) async -> FollowStatus?
  /// Stops what follows on a line, so that the next ``follow(_:)`` begins it anew; the slot stays. No error where
  /// nothing follows.
  func pauseFollowing(line: String) async throws
  /// Stops what follows on a line, as ``pauseFollowing(line:)`` does; on return all that came of its server is in the store.
  /// - Throws: ``ComputeFleetError`` `.temporary` where the store does not take it: nothing is lost, and it lies on this
  ///   machine only.
  func storeFollowed(_ request: FollowRequest) async throws
  /// Ends the following: what came is in the store, the slot is dropped, nothing stays on this machine.
  /// - Parameters:
  ///   - keepsSlot: leave the source alone, where it does not answer any more.
  ///   - givesUpWAL: what came and is not in the store may be lost, else it is as ``storeFollowed(_:)`` leaves it, and the
  ///     slot stays.
  func release(_ request: FollowRequest, keepsSlot: Bool, givesUpWAL: Bool) async throws
}

extension FollowingFleet {
  public func inspect(_ source: AttachedServer) async throws -> SourceDescription {
    throw ComputeFleetError(.permanent, "attach: this fleet follows no servers")
  }
  public func follow(_ request: FollowRequest) async throws -> FollowStatus {
    throw ComputeFleetError(.permanent, "attach: this fleet follows no servers")
  }
  public func followStatus(line: String) async -> FollowStatus? { nil }
  public func pauseFollowing(line: String) async throws {}
  public func storeFollowed(_ request: FollowRequest) async throws {}
  public func release(
    _ request: FollowRequest, keepsSlot: Bool, givesUpWAL: Bool
  ) async throws {}
}
