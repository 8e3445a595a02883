import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// One server under many names, other servers with its identifier, and following that goes on after it had ended.
extension AttachmentTests {
  /// An address does not tell; when it began, and the slot, do.
  @Test func oneServerIsAttachedOnceWhateverItIsCalled() async throws {
    try await with { scene in
      let (installation, sources) = (scene.installation, scene.installation.fleet.sources)
      func add(_ host: String, startedAt: Int, followers: [String: Bool] = [:]) {
        sources.add(
          host, system: 1, password: "secret", startedAt: startedAt, followers: followers)
      }
      func refused(_ host: String) async throws -> Bool {
        do {
          _ = try await scene.attach(host)
          return false
        } catch let error as ControlPlaneError {
          #expect(error.code == .attachmentAlreadyExists, "\(error)")
          #expect(error.message.contains("branch 'main' of project"), "\(error)")
          return true
        }
      }
      add("db1", startedAt: 7)
      let first = try await scene.attach("db1")
      let slot = first.attachment.slot
      let line = try await scene.line(first.project.id)
      sources.set(.following, of: line)
      try await installation.end(first.operations)
      add("127.0.0.1", startedAt: 7)
      add("restarted", startedAt: 8, followers: [slot: true])
      for host in ["db1", "127.0.0.1", "restarted"] { #expect(try await refused(host), "\(host)") }
      // Nobody comes in from anywhere: the slot is the server's, as far as anybody can tell.
      add("copied", startedAt: 9, followers: [slot: false])
      sources.setAway(line, heldUntil: installation.clock.now, seconds: 1)
      #expect(try await refused("copied"))
      sources.set(.following, of: line)
      // A copy of all files, and a standby that was promoted, are servers of their own.
      add("promoted", startedAt: 10)
      for host in ["copied", "promoted"] {
        let other = try await scene.attach(host)
        try await scene.detach(other.project.id)
      }
      try await scene.detach(first.project.id)
      #expect(try await !refused("127.0.0.1"))
    }
  }

  /// What is written meanwhile has its history, and the slot does not pile WAL up for nobody.
  @Test func aDetachingThatFailsLeavesTheServerFollowed() async throws {
    try await with { scene in
      let (installation, sources) = (scene.installation, scene.installation.fleet.sources)
      let (project, line) = try await scene.followed("db1")
      let slot = try await scene.status(project).slot
      sources.remove("db1")
      let failed = try await scene.detach(project)
      #expect(failed[0].status == .failed)
      #expect(failed[0].error?.contains("repeat the request") == true, "\(failed)")
      #expect(sources.followed.isEmpty && sources.slots == [slot])
      try await AttachmentKeeper(core: scene.core).round()
      #expect(sources.followed == [line])
      sources.setAway(line, heldUntil: installation.clock.now, seconds: 1)
      let away = try await scene.status(project)
      #expect(away.status == .following)
      #expect(away.error?.contains("connection refused") == true, "\(away)")
      sources.add("db1", system: 1, password: "secret")
      sources.set(.following, of: line)
      let back = try await scene.status(project)
      #expect(back.status == .following && back.error == nil, "\(back)")
      #expect(try await AlertConditions(core: scene.core).now() == [])
      #expect(try await scene.detach(project)[0].status == .finished)
      #expect(sources.followed.isEmpty && sources.slots.isEmpty)
      #expect(try await scene.status(project).status == .detached)
    }
  }

  /// There is nothing to go on with: it stays failed, and `attach update` copies anew.
  @Test func aDetachingThatFailsBeforeTheCopyIsThereStaysFailed() async throws {
    try await with { scene in
      let sources = scene.installation.fleet.sources
      let attached = try await scene.attach("db1")
      let project = attached.project.id
      sources.remove("db1")
      #expect(try await scene.detach(project)[0].status == .failed)
      #expect(try await scene.status(project).status == .failed)
      sources.add("db1", system: 1, password: "secret")
      try await scene.installation.end(attached.operations)
      sources.set(.following, of: try await scene.line(project))
      let again = try await scene.update(project, "postgresql://u@db1/app")
      #expect(try await scene.installation.end(again.operations).map(\.status) == [.finished])
    }
  }

  @Test func whatFailedIsAnAlertUntilItIsMendedOrItsProjectIsGone() async throws {
    try await with { scene in
      let (installation, sources) = (scene.installation, scene.installation.fleet.sources)
      let conditions = AlertConditions(core: scene.core)
      func expectAlert(_ parts: String...) async throws {
        let found = try await conditions.now()
        #expect(found.map(\.kind) == [.attachmentFailed], "\(found)")
        for part in ["branch 'main'", "exzo attach update", "exzo detach"] + parts {
          #expect(found.first.map { "\($0.message) \($0.hint)".contains(part) } == true, "\(found)")
        }
      }
      let attached = try await scene.attach("db1")
      let (project, line) = (attached.project.id, try await scene.line(attached.project.id))
      sources.set(.failed, of: line, failure: "no space")
      try await installation.end(attached.operations)
      try await expectAlert("no space", "copy anew")
      sources.set(.following, of: line)
      try await installation.end(
        try await scene.update(project, "postgresql://u@db1/app").operations)
      #expect(try await conditions.now() == [])
      // As earlier versions left a detaching that failed.
      try await installation.fleet.pauseFollowing(line: line)
      try await scene.change(project) { record, _ in
        record.status = .failed
        record.error = "drop slot 'x'"
      }
      try await expectAlert("drop slot 'x'", "goes on following")
      let again = try await scene.update(project, "postgresql://u@db1/app")
      #expect(again.attachment.status == .following && sources.followed == [line])
      #expect(try await conditions.now() == [])
      sources.set(.failed, of: line, failure: "gone")
      let other = try await scene.attach("db2")
      sources.set(.failed, of: try await scene.line(other.project.id), failure: "no space")
      try await installation.end(other.operations)
      #expect(try await conditions.now().count == 2)
      let deleted = try await ProjectService(core: scene.core).delete(
        ProjectID(other.project.id), account: installation.account.id)
      try await installation.end(deleted.operations)
      #expect(try await conditions.now().count == 1)
    }
  }

  /// Nobody else would say so: what could is not running.
  @Test func aFollowerThatDoesNotStartIsToldAndShown() async throws {
    try await with { scene in
      let (installation, sources) = (scene.installation, scene.installation.fleet.sources)
      let (project, line) = try await scene.followed("db1")
      let keeper = AttachmentKeeper(core: scene.core)
      let conditions = AlertConditions(core: scene.core)
      try await installation.fleet.pauseFollowing(line: line)
      sources.refuse(line, with: ComputeFleetError(.temporary, "no space left"))
      try await keeper.round()
      #expect(try await scene.status(project).error == "no space left")
      #expect(try await conditions.now() == [])
      installation.clock.advance(301)
      try await keeper.round()
      let found = try await conditions.now()
      #expect(found.map(\.kind) == [.attachmentFailed])
      #expect(found.first?.message.contains("no space left") == true, "\(found)")
      sources.refuse(line, with: nil)
      try await keeper.round()
      #expect(try await scene.status(project).error == nil)
      #expect(try await conditions.now() == [])
      // What was told is not over because the process is gone that knew of it.
      sources.setAway(line, heldUntil: installation.clock.now, seconds: 400)
      try await AlertService(core: scene.core).round(try await conditions.now())
      try await installation.fleet.pauseFollowing(line: line)
      #expect(try await conditions.now().map(\.kind) == [.sourceAway])
      sources.set(.following, of: line)
      try await keeper.round()
      #expect(try await conditions.now() == [])
    }
  }

  /// It says so, instead of nothing: what the server writes is not the branch's any more.
  @Test func aRestoredBranchIsNotFollowedAgain() async throws {
    try await with { scene in
      let attached = try await scene.attach("db1")
      let project = attached.project.id
      scene.installation.fleet.sources.set(.following, of: try await scene.line(project))
      try await scene.installation.end(attached.operations)
      try await scene.change(project) { record, tx in
        let row = try #require(try tx.project(record.projectID))
        var branch = try #require(try tx.branch(record.branchID))
        branch.lineID = try NewLine(core: scene.core, project: row).insertRoot(tx).id
        try tx.update(branch)
        record.status = .failed
      }
      let code = try await scene.installation.refusal {
        _ = try await scene.update(project, "postgresql://u@db1/app")
      }
      #expect(code == .attachmentNotFound)
    }
  }
}

extension AttachmentTests.Scene {
  @discardableResult
  fileprivate func detach(_ project: String) async throws -> [API.Operation] {
    let answer = try await service.detach(
      ProjectID(project), API.DetachRequest(), account: installation.account.id)
    return try await installation.end(answer.operations)
  }

  fileprivate func status(_ project: String) async throws -> API.Attachment {
    try await service.get(ProjectID(project), account: installation.account.id)
  }

  /// Changes the catalog's row of an attachment.
  fileprivate func change(
    _ project: String,
    _ body: @escaping @Sendable (inout AttachmentRecord, CatalogTransaction) throws -> Void
  ) async throws {
    try await core.catalog.write { tx in
      var record = try #require(try tx.attachment(of: ProjectID(project)))
      try body(&record, tx)
      try tx.update(record)
    }
  }
}
