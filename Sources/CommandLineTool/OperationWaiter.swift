import APIClient
import APITypes
import Foundation

extension API.OperationStatus {
  /// Nothing more will happen.
  public var isFinal: Bool {
    switch self {
    case .finished, .failed, .cancelled, .skipped, .error: true
    case .scheduling, .running, .cancelling: false
    }
  }
}

/// Waits for the operations that a request started, and says how they get on.
public struct OperationWaiter: Sendable {
  private let client: APIClient
  private let progress: @Sendable (String) -> Void
  private let pause: @Sendable (Duration) async throws -> Void

  private static let firstPause = Duration.milliseconds(50)
  private static let longestPause = Duration.seconds(2)

  /// - Parameter progress: takes one line, without its end.
  public init(
    client: APIClient, progress: @escaping @Sendable (String) -> Void,
    pause: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
  ) {
    self.client = client
    self.progress = progress
    self.pause = pause
  }

  /// Returns when all are final.
  ///
  /// - Throws: ``CommandError`` with the reason of the first that did not finish well.
  public func wait(for operations: [API.Operation]) async throws {
    for operation in operations {
      let end = try await wait(for: operation)
      guard end.status == .finished || end.status == .skipped else {
        throw CommandError(
          "operation \(end.id) (\(end.kind ?? end.action.rawValue)) \(end.status.rawValue)"
            + (end.error.map { ": \($0)" } ?? ""))
      }
    }
  }

  private func wait(for operation: API.Operation) async throws -> API.Operation {
    var current = operation
    var interval = Self.firstPause
    var told: API.OperationStatus?
    while true {
      if current.status != told {
        told = current.status
        progress("\(current.kind ?? current.action.rawValue): \(current.status.rawValue)")
      }
      if current.status.isFinal { return current }
      try await pause(interval)
      interval = min(interval * 2, Self.longestPause)
      let request = APIRequest(
        .get, ["projects", current.projectID, "operations", current.id])
      current = try await client.send(request, as: API.OperationResponse.self).value.operation
    }
  }
}
