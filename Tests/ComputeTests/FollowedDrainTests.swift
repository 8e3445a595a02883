import Foundation
import Logging
import TestSupport
import Testing

@testable import Compute

/// Whether a line that followed a server may be taken away from this machine.
@Suite struct FollowedDrainTests {
  @Test func onlyACleanStopSaysThatASpoolIsStored() async throws {
    try await withTemporaryDirectory { path in
      let fleet = AgentFleet(
        configuration: .init(dataDirectory: path, agentProgram: "/bin/false", environment: [:]),
        log: Logger(label: "fleet"))
      let (line, files) = ("ln-0123456789abcdef", FileManager.default)
      #expect(fleet.isDrained(following: line))
      let directory = fleet.directory(line: line)
      try files.createDirectory(atPath: directory.spool, withIntermediateDirectories: true)
      #expect(fleet.isDrained(following: line))
      #expect(files.createFile(atPath: "\(directory.spool)/segment", contents: Data()))
      #expect(!fleet.isDrained(following: line))
      try DrainedMarker(directory, following: true).set()
      #expect(fleet.isDrained(following: line))
      try DrainedMarker(directory, following: true).clear()
      #expect(!fleet.isDrained(following: line))
    }
  }
}
