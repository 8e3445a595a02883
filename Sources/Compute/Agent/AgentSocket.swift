import Foundation
import PostgresFormat

/// Answers requests on the agent's control socket; each connection has a thread of its own.
struct AgentSocket: Sendable {
  let agent: Agent

  /// Serves one connection until the other side closes it.
  func serve(_ connection: ControlConnection) {
    do {
      while let request = try connection.receive(AgentRequest.self) {
        let response = wait { await agent.answer(request) }
        let sent = Result { try connection.send(response) }
        // Down is down, whether or not the asker still listens.
        if request == .suspend, response == .done { Task { await agent.finish() } }
        try sent.get()
      }
    } catch {
      // The asker is gone or speaks nonsense: there is nobody to tell.
      agent.log.debug("control connection ended", metadata: ["error": "\(error)"])
    }
  }

  /// Waits on this thread, which is our own, for an answer of the actor.
  private func wait(_ work: @escaping @Sendable () async -> AgentResponse) -> AgentResponse {
    let box = ResponseBox()
    Task {
      box.response = await work()
      box.arrived.signal()
    }
    box.arrived.wait()
    return box.response
  }

  /// Written once before the signal, read once after it.
  private final class ResponseBox: @unchecked Sendable {
    var response = AgentResponse.done
    let arrived = DispatchSemaphore(value: 0)
  }
}

extension Agent {
  func answer(_ request: AgentRequest) async -> AgentResponse {
    do {
      return try await respond(to: request)
    } catch let error as ComputeError {
      return .failed(code: error.code.rawValue, message: error.message, hint: error.hint)
    } catch {
      return .failed(code: ComputeError.Code.agent.rawValue, message: "\(error)", hint: "")
    }
  }

  private func respond(to request: AgentRequest) async throws -> AgentResponse {
    switch request {
    case .status: return .status(await currentStatus())
    case .waitUntilRunning:
      await waitUntilDecided()
      if let failure { throw failure }
      return .status(await currentStatus())
    case .head: return .position(try await head())
    case .flush(let lsn):
      guard let capture else { throw notRunning() }
      return .position(try await capture.flush(to: lsn, timeout: .seconds(60)))
    case .keyframe:
      guard status.phase == .running, let keyframes, let server else { throw notRunning() }
      try await server.checkpoint()
      try await keyframes.seal(consistentAt: nil)
      return .done
    case .suspend:
      try await suspend()
      return .done
    }
  }

  /// An LSN at or above every commit acknowledged so far, and in the store.
  private func head() async throws -> LSN {
    if let following { return try await followedHead(following) }
    guard status.phase == .running, let server, let capture else { throw notRunning() }
    let lsn = try await server.insertLSN()
    return try await capture.flush(to: lsn, timeout: .seconds(30))
  }

  private func notRunning() -> ComputeError {
    ComputeError(.agent, "ask the compute: it is \(status.phase.rawValue)")
  }
}
