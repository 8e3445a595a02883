import APITypes
import ControlPlaneSimulation
import Testing

@testable import ControlPlane

/// A copy lies on this machine's disk until it is stored.
extension AttachmentTests {
  private static let bytes = 10 << 30

  @Test func aServerThatDoesNotFitIsRefusedBeforeItIsCopied() async throws {
    try await with { scene in
      let sources = scene.installation.fleet.sources
      func add(free: Int) {
        sources.add(
          "large", system: 77, password: "secret", bytes: Self.bytes, freeBytes: free)
      }
      func expectRefused(free: Int, _ body: () async throws -> Void) async throws {
        add(free: free)
        do {
          try await body()
          Issue.record("it was not refused with \(free) bytes free")
        } catch let error as ControlPlaneError {
          #expect(error.code == .sourceRefused, "\(error)")
          #expect(error.message.contains("\(Self.bytes)"), "\(error)")
          #expect(error.message.contains("\(free)"), "\(error)")
        }
      }
      for free in [0, Self.bytes, Self.bytes + CopyRoom.reserve - 1] {
        try await expectRefused(free: free) { _ = try await scene.attach("large") }
      }
      #expect(sources.followed.isEmpty && sources.slots.isEmpty)
      add(free: Self.bytes + CopyRoom.reserve)
      let (project, line) = try await scene.followed("large")
      // To follow takes no such room; to copy anew does.
      add(free: 0)
      _ = try await scene.update(project, "postgresql://u@large/app")
      sources.set(.failed, of: line, failure: "WAL is gone")
      try await expectRefused(free: Self.bytes) {
        _ = try await scene.update(project, nil, copyAnew: true)
      }
      #expect(try await scene.line(project) == line)
    }
  }
}
