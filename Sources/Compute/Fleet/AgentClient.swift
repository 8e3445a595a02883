import Foundation
import PostgresFormat

/// One agent as serve sees it: asked over its control socket.
///
/// Each call opens a connection of its own and blocks one of our threads, never the cooperative
/// pool.
public struct AgentClient: Sendable {
  public let directory: LineDirectory

  public init(directory: LineDirectory) { self.directory = directory }

  /// Whether there is a socket to ask at; that an agent listens is not said. Costs far less than to ask in vain.
  var hasSocket: Bool { access(directory.controlSocket, F_OK) == 0 }

  /// Asks and waits for the answer.
  /// - Parameter timeout: seconds until the agent is given up.
  /// - Throws: ``ComputeError``, with the agent's own code where it answered with a failure.
  public func ask(_ request: AgentRequest, timeout: Int) async throws -> AgentResponse {
    let path = directory.controlSocket
    return try await withThread(named: "agent-client") {
      let connection = try ControlConnection.connect(path: path, timeout: timeout)
      try connection.send(request)
      guard let response = try connection.receive(AgentResponse.self) else {
        throw ComputeError(
          .agent, "ask the agent at '\(path)' for \(request.name): it went away without an answer")
      }
      if case .failed(let code, let message, let hint) = response {
        throw ComputeError(ComputeError.Code(rawValue: code) ?? .agent, message, hint: hint)
      }
      return response
    }
  }

  /// Status, or `nil` where no agent listens.
  public func status() async -> AgentStatus? {
    // Of hundreds of lines most sleep.
    guard hasSocket else { return nil }
    // No answer is the answer: the agent does not run, or is not there yet.
    guard let response = try? await ask(.status, timeout: 5), case .status(let status) = response
    else { return nil }
    return status
  }

  /// - Returns: an LSN at or above every commit acknowledged before the call, already stored.
  public func head() async throws -> LSN {
    guard case .position(let lsn) = try await ask(.head, timeout: 60) else {
      throw ComputeError(.agent, "ask the agent for its head: unexpected answer")
    }
    return lsn
  }
}

extension AgentRequest {
  /// The verb, for messages.
  var name: String {
    switch self {
    case .status: "status"
    case .waitUntilRunning: "its start"
    case .head: "its head"
    case .flush(let lsn): "a flush to \(lsn)"
    case .keyframe: "a keyframe"
    case .suspend: "suspension"
    }
  }
}

/// Runs blocking work on a thread of its own and waits for it without holding the cooperative pool.
public func withThread<Result: Sendable>(
  named name: String, _ work: @escaping @Sendable () throws -> Result
) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread {
      continuation.resume(with: Swift.Result { try work() })
    }
    thread.name = name
    thread.start()
  }
}
