import APITypes
import Catalog
import ControlPlaneSimulation
import Testing

@testable import ControlPlane

extension AttachmentTests {
  /// They are told when a server is attached and as long as it is followed, and change with what it says of itself.
  @Test func whatIsDifferentOnThisMachineIsTold() async throws {
    try await with { scene in
      let sources = scene.installation.fleet.sources
      sources.add("old", system: 88, password: "secret", notes: ["text is sorted otherwise"])
      let attached = try await scene.attach("old")
      #expect(attached.attachment.notes == ["text is sorted otherwise"])
      let project = attached.project.id
      sources.set(.following, of: try await scene.line(project))
      try await scene.installation.end(attached.operations)
      let account = scene.installation.account.id
      let shown = try await scene.service.get(ProjectID(project), account: account)
      #expect(shown.notes == ["text is sorted otherwise"])
      sources.add("old", system: 88, password: "secret")
      let updated = try await scene.update(project, "postgresql://u@old/app")
      #expect(updated.attachment.notes == nil)
    }
  }
}
