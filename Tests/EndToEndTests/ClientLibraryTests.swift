import Foundation
import TestSupport
import Testing

/// What outside programs do, unchanged, against a real serve.
@Suite(.serialized, .heavy) struct ClientLibraryTests {
  @Test(.needsPythonClient) func everyCallOfThePythonClientPasses() async throws {
    try await withPlatform { platform in
      let script = "\(FileManager.default.currentDirectoryPath)/scripts/neon_api_client.py"
      let result = try run(
        [
          ConditionTrait.pythonOfTheClient, script, platform.url("/api/v2/"), try platform.key,
        ], allowFailure: true)
      #expect(result.status == 0, "\(result.output)\(result.errorOutput)")
      #expect(result.output.contains("calls of neon-api: all pass"))
    }
  }
}
