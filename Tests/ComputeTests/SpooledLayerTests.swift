import Foundation
import TestSupport
import Testing

@testable import Compute

@Suite struct SpooledLayerTests {
  /// An agent that is suspended or killed in the middle of a merge leaves its files behind.
  @Test func whatAnAgentWasMakingGoesWithTheNextStart() async throws {
    try await withTemporaryDirectory { path in
      let directory = LineDirectory(dataDirectory: path, line: "ln-a")
      let files = FileManager.default
      try files.createDirectory(
        atPath: "\(directory.scratch)/backup", withIntermediateDirectories: true)
      for name in ["layer-ln-a-00000001-000000000009-0000", "merged-ln-a", "backup/base.tar"] {
        try Data([1]).write(to: URL(fileURLWithPath: "\(directory.scratch)/\(name)"))
      }
      try removeSpooledLayers(directory)
      #expect(try files.contentsOfDirectory(atPath: directory.scratch) == ["backup"])
      #expect(files.fileExists(atPath: "\(directory.scratch)/backup/base.tar"))
    }
  }
}
