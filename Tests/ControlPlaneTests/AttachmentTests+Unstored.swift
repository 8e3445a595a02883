import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// What came of a server and is not in the store yet: it may be nowhere else.
extension AttachmentTests {
  @Test func aDetachingLosesNothingThatTheStoreHasNotGot() async throws {
    try await with { scene in
      let (project, line) = try await scene.followed("db1")
      let sources = scene.installation.fleet.sources
      let slots = sources.slots
      sources.set(isStored: false, of: line)
      let failed = try await scene.detached(project, API.DetachRequest())
      #expect(failed.status == .failed)
      #expect(failed.error?.contains("give_up_wal") == true, "\(failed)")
      // Nor does a server that does not answer any more stand for what is to be lost.
      let kept = try await scene.detached(project, API.DetachRequest(keepSlot: true))
      #expect(kept.status == .failed)
      #expect(sources.slots == slots && !slots.isEmpty && sources.lost.isEmpty)
      // It is followed on, and so stored as soon as the store is there.
      try await AttachmentKeeper(core: scene.core).round()
      #expect(sources.followed == [line])
      sources.set(isStored: true, of: line)
      let detached = try await scene.detached(project, API.DetachRequest())
      #expect(detached.status == .finished, "\(detached)")
      #expect(sources.slots.isEmpty && sources.followed.isEmpty && sources.lost.isEmpty)
    }
  }

  @Test func unstoredWALIsGivenUpWhereThatIsAskedForOrNothingIsThereToOpen() async throws {
    try await with { scene in
      let sources = scene.installation.fleet.sources
      let (project, line) = try await scene.followed("db1")
      sources.set(isStored: false, of: line)
      let given = try await scene.detached(project, API.DetachRequest(giveUpWAL: true))
      #expect(given.status == .finished && sources.lost == [line], "\(given)")
      let copying = try await scene.attach("db2")
      sources.set(isStored: false, of: try await scene.line(copying.project.id))
      let detached = try await scene.detached(copying.project.id, API.DetachRequest())
      #expect(detached.status == .finished && sources.slots.isEmpty, "\(detached)")
    }
  }

  /// What the branch held would end before what came of the server.
  @Test func nothingIsCopiedAnewBeforeTheLastWALIsStored() async throws {
    try await with { scene in
      let (project, line) = try await scene.followed("db1")
      let sources = scene.installation.fleet.sources
      sources.set(.failed, of: line, failure: "it is on timeline 2")
      sources.set(isStored: false, of: line)
      let slots = sources.slots
      for isFollowed in [true, false] {
        if !isFollowed { try await scene.installation.fleet.pauseFollowing(line: line) }
        if !isFollowed { try await scene.fail(project) }
        let error = await #expect(throws: ComputeFleetError.self) {
          _ = try await scene.update(project, nil, copyAnew: true)
        }
        #expect(error?.code == .temporary && error?.message.contains("Nothing is lost") == true)
      }
      #expect(try await scene.line(project) == line && sources.slots == slots)
      sources.set(isStored: true, of: line)
      _ = try await scene.update(project, nil, copyAnew: true)
      #expect(try await scene.line(project) != line && sources.lost.isEmpty)
    }
  }

  @Test func theFormerSlotIsDroppedAlsoWhereThatFailsAtFirst() async throws {
    try await with { scene in
      let (project, line) = try await scene.followed("db1")
      let sources = scene.installation.fleet.sources
      let former = sources.slots
      sources.set(.failed, of: line, failure: "it is on timeline 2")
      sources.failReleases(
        with: Array(repeating: ComputeFleetError(.temporary, "it does not answer"), count: 7))
      let renewed = try await scene.update(project, nil, copyAnew: true)
      // Whoever copies anew waits for the copy only.
      #expect(renewed.operations.count == 1)
      try await scene.settle()
      sources.set(.following, of: try await scene.line(project))
      let ended = try await scene.installation.end(renewed.operations)
      #expect(ended.map(\.status) == [.finished], "\(ended)")
      #expect(sources.slots == [renewed.attachment.slot])
      #expect(sources.slots.isDisjoint(with: former) && !sources.followed.contains(line))
    }
  }
}

extension AttachmentTests.Scene {
  /// A server that is attached and copied: its project and line.
  func followed(_ host: String) async throws -> (project: String, line: String) {
    let attached = try await attach(host)
    let line = try await line(attached.project.id)
    _ = try await installation.fleet.createRoot(
      RootRequest(lineID: line, projectID: attached.project.id, major: 15))
    installation.fleet.sources.set(.following, of: line)
    try await installation.end(attached.operations)
    return (attached.project.id, line)
  }

  /// How a detaching ended, with all its attempts.
  fileprivate func detached(
    _ project: String, _ request: API.DetachRequest
  ) async throws -> API.Operation {
    let answer = try await service.detach(
      ProjectID(project), request, account: installation.account.id)
    try await settle()
    return try #require(try await installation.end(answer.operations).first)
  }

  /// As a machine or an earlier version leaves what it could not go on with.
  fileprivate func fail(_ project: String) async throws {
    try await core.catalog.write { tx in
      var record = try #require(try tx.attachment(of: ProjectID(project)))
      record.status = .failed
      try tx.update(record)
    }
  }

  /// Lets the clock go on until no operation waits for another attempt.
  func settle() async throws {
    while try await core.catalog.read({ tx in
      try tx.unfinishedOperations().contains { $0.kind != OperationKind.attachSource.rawValue }
    }) {
      installation.clock.advance(5)
      core.added.fire()
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}
