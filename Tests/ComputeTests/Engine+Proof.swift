import Foundation
import History
import ObjectStorage
import PostgresFormat
import TestSupport

@testable import Compute

/// What the proofs ask of an engine: positions, objects in its store, what opened moments hold.
extension Engine {
  /// The settings that ``Workloads`` need.
  static var workloadSettings: ServerSettings {
    ServerSettings(maxPreparedTransactions: 50, maxLocksPerTransaction: 256)
  }

  /// An LSN at or above every commit so far, stored.
  func head(_ line: String) async throws -> LSN { try await fleet.client(line: line).head() }

  /// Takes a keyframe now and waits until it is stored.
  func keyframe(_ line: String) async throws {
    _ = try await fleet.client(line: line).ask(.keyframe, timeout: 60)
  }

  func history(_ line: String) async throws -> LineHistory {
    try await LineHistory.open(LineID(rawValue: line), store: store)
  }

  /// Starts a line again that has a volume here.
  @discardableResult
  func wake(_ line: String) async throws -> AgentStatus {
    guard let specification = try fleet.specification(line: line) else {
      throw CommandFailure(description: "wake \(line): it has no volume here")
    }
    return try await fleet.start(specification)
  }

  /// Ends the line's agent by force and returns once it is gone; the fleet may start a new one.
  func killAgent(_ line: String) async throws {
    guard let status = await fleet.client(line: line).status() else {
      throw CommandFailure(description: "kill the agent of \(line): none answers")
    }
    kill(status.agentPID, SIGKILL)
    for _ in 0..<2000 where kill(status.agentPID, 0) == 0 {
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// Keys of the line's objects of a kind: `wal`, `layers`, `keyframes`, `manifest`, `owner`.
  func objects(_ kind: String, of line: String) async throws -> [String] {
    try await store.list(prefix: "lines/\(line)/\(kind)/", after: nil, limit: 10_000)
      .map(\.key.name)
  }

  /// The file that holds an object.
  func file(_ key: String) throws -> String {
    guard let path = store.localFile(ObjectKey(key)) else {
      throw CommandFailure(description: "find the file of object \(key): the store has none")
    }
    return path
  }

  /// Runs `body` against a copy of a moment, which is gone afterwards.
  func withBranch(
    of parent: String, at lsn: LSN, _ body: (String, AgentStatus) async throws -> Void
  ) async throws {
    let (branch, status) = try await open(parent, at: lsn)
    try await body(branch, status)
    try await fleet.destroy(line: branch)
  }

  /// The server's own log and the agent's, as far as they are there.
  func logs(_ line: String) -> String {
    let directory = fleet.directory(line: line)
    return [directory.agentLog, directory.serverLog].map {
      String(decoding: FileManager.default.contents(atPath: $0) ?? Data(), as: UTF8.self)
    }.joined(separator: "\n")
  }

  /// Waits until the logs of a line hold a text.
  func waitForLog(_ line: String, _ text: String, seconds: Int = 45) async throws {
    for _ in 0..<seconds * 20 {
      if logs(line).contains(text) { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(
      description: "\(line) does not log '\(text)'\n\(logs(line).suffix(3000))")
  }

  /// Whether anything is mounted, or any process works, in the line's directory.
  func remains(of line: String) throws -> [String] {
    let path = fleet.directory(line: line).path
    let table = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)
    let mounts = table.split(separator: "\n").filter { $0.contains(path) }.map(String.init)
    let working = processes(workingIn: fleet.directory(line: line).mountPoint)
    return mounts + working.map { "process \($0)" }
  }
}
