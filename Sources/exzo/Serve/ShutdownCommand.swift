import ArgumentParser
import Catalog
import Compute
import Foundation
import Logging

/// `exzo shutdown`: ends serve and every compute of a data directory.
struct ShutdownCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shutdown",
    abstract: "Stop serve, if it runs, every compute, and the metadata server.")

  @Option(help: "The data directory.") var dataDir: String

  func run() async throws {
    let path = URL(fileURLWithPath: dataDir).standardizedFileURL.path
    guard FileManager.default.fileExists(atPath: path) else {
      throw ValidationError("shut down '\(path)': there is no such directory")
    }
    if let holder = DataDirectory.holder(of: path) {
      kill(holder, SIGTERM)
      for _ in 0..<600 where DataDirectory.holder(of: path) != nil {
        try await Task.sleep(for: .milliseconds(100))
      }
      guard DataDirectory.holder(of: path) == nil else {
        throw ServeError("stop serve (process \(holder)): it still runs after 60 s")
      }
    }
    Poolers.endLeftovers(dataDirectory: path)
    let fleet = AgentFleet(
      configuration: .init(dataDirectory: path, agentProgram: "", environment: [:]),
      log: Logger(label: "shutdown"))
    try await fleet.suspendAll()
    for line in fleet.lines() {
      // One whose specification cannot be read has nothing to take away that we know of.
      if let specification = try? fleet.specification(line: line) {
        specification.controlGroup?.removeParents()
      }
    }
    try await stopMetadataServer(path)
  }

  /// A serve that was killed has left it running.
  private func stopMetadataServer(_ path: String) async throws {
    guard FileManager.default.fileExists(atPath: "\(path)/metadata") else { return }
    var log = Logger(label: "shutdown")
    log.logLevel = .warning
    try await EmbeddedMetadataServer(directory: path, logger: log).stop()
  }
}
