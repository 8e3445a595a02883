import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import PostgresFormat
import Testing

@testable import ControlPlane

@Suite(.serialized) struct SnapshotTests {
  @Test func snapshotsKeepMomentsAndGoWhenTheyExpire() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let service = SnapshotService(core: installation.core)
        func create(_ request: SnapshotService.Request) async throws -> API.Snapshot {
          try await service.create(
            request, branch: scene.main, project: scene.project, account: scene.account
          ).snapshot
        }
        let head = try await create(SnapshotService.Request(name: "release"))
        #expect(head.lsn == "0/1500300" && head.manual == true)
        let early = try await create(
          SnapshotService.Request(
            time: scene.start.addingTimeInterval(61),
            expiresAt: installation.clock.now.addingTimeInterval(100)))
        #expect(early.lsn == "0/1500100")
        let exact = try await create(SnapshotService.Request(lsn: "0/01500080"))
        #expect(exact.lsn == "0/1500080")
        let refused: [(SnapshotService.Request, ControlPlaneError.Code)] = [
          (SnapshotService.Request(lsn: "0/9"), .restorePointOutOfWindow),
          (SnapshotService.Request(lsn: "x"), .badValue),
          (SnapshotService.Request(lsn: "0/1500080", time: scene.start), .restorePointAmbiguous),
          (SnapshotService.Request(expiresAt: scene.start), .badValue),
          (SnapshotService.Request(name: ""), .badValue),
        ]
        for (request, code) in refused {
          #expect(try await installation.refusal { _ = try await create(request) } == code)
        }
        let changed = try await service.update(
          SnapshotID(exact.id), API.SnapshotUpdate(name: "exact", expiresAt: .null),
          project: scene.project, account: scene.account)
        #expect(changed.name == "exact")
        installation.clock.advance(101)
        try await Housekeeping(
          core: installation.core, directory: EndpointDirectory(core: installation.core)
        ).round()
        let left = try await service.list(project: scene.project, account: scene.account)
        #expect(Set(left.map(\.id)) == [head.id, exact.id])
        for _ in 0..<2 {
          _ = try await service.delete(
            SnapshotID(exact.id), project: scene.project, account: scene.account)
        }
        #expect(
          try await installation.refusal {
            _ = try await service.delete(
              SnapshotID("snap-none"), project: scene.project, account: scene.account)
          } == .snapshotNotFound)
      }
    }
  }

  @Test func aRestoredSnapshotIsABranchOrTakesAnothersPlace() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let service = SnapshotService(core: core)
        let snapshot = try await service.create(
          SnapshotService.Request(lsn: "0/1500100"), branch: scene.main, project: scene.project,
          account: scene.account
        ).snapshot
        try await ScheduleService(core: core, kinds: [.snapshot]).set(
          API.BackupSchedule(schedule: [.init(frequency: .daily)]), branch: scene.main,
          project: scene.project, account: scene.account)
        let owner = try await core.catalog.read { try $0.role("exzodb_owner", of: scene.main) }

        // First a look, as a branch of its own with an endpoint.
        let restored = try await service.restore(
          SnapshotID(snapshot.id), API.SnapshotRestoreRequest(name: "look"),
          project: scene.project, account: scene.account)
        try await installation.end(restored.operations)
        let look = BranchID(restored.branch.id)
        #expect(restored.branch.restoredFrom == snapshot.id)
        #expect(restored.branch.restoreStatus == "restored")
        let own = try await EndpointService(core: core).create(
          API.NewEndpoint(branchID: look.rawValue, type: .readWrite), project: scene.project,
          account: scene.account)
        try await installation.end(own.operations)
        #expect(
          try await installation.refusal {
            _ = try await scene.branches.finalizeRestore(
              scene.dev, name: nil, project: scene.project, account: scene.account)
          } == .restoreNotPending)

        // Then in main's place: both endpoints swap their branches.
        let operations = try await scene.branches.finalizeRestore(
          look, name: "main-old", project: scene.project, account: scene.account)
        let ended = try await installation.end(operations)
        #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
        let (new, old) = (
          try await scene.row(named: "main"), try await scene.row(named: "main-old")
        )
        #expect(new.id == look && old.id == scene.main)
        #expect(new.restoreStatus == "finalized")
        #expect(try await scene.row(scene.dev).parentID == look)
        let (endpoint, other, project, moved) = try await core.catalog.read { tx in
          (
            try tx.endpoint(scene.endpoint), try tx.endpoint(EndpointID(own.endpoint.id)),
            try tx.project(scene.project), try tx.schedule(of: look)
          )
        }
        #expect(endpoint?.branchID == look && endpoint?.state == .active)
        #expect(other?.branchID == scene.main && other?.state == .active)
        #expect(project?.defaultBranchID == look)
        #expect(moved.count == 1)
        try await scene.checkEndpoint()
        let today = try await core.catalog.read { try $0.role("exzodb_owner", of: look) }
        #expect(today?.scramVerifier == owner?.scramVerifier)
        // Repeated, it answers that all is done; the replaced branch can be deleted.
        #expect(
          try await scene.branches.finalizeRestore(
            look, name: nil, project: scene.project, account: scene.account
          ).isEmpty)
        try await installation.end(
          try await scene.branches.delete(
            scene.main, project: scene.project, account: scene.account
          ).operations)

        // What a restore made can be restored again, at once and in one step.
        let again = try await service.restore(
          SnapshotID(snapshot.id), API.SnapshotRestoreRequest(finalizeRestore: true),
          project: scene.project, account: scene.account)
        #expect(again.endpoints?.map(\.id) == [scene.endpoint.rawValue])
        let last = try await installation.end(again.operations)
        #expect(last.allSatisfy { $0.status == .finished }, "\(last)")
        #expect(try await scene.row(named: "main").id.rawValue == again.branch.id)
        try await scene.checkEndpoint()
      }
    }
  }

  /// Each of two looks at a snapshot may replace the branch, the second one what the first has put there; and one
  /// that does not come to it leaves no compute behind.
  @Test(.timeLimit(.minutes(1))) func theSecondOfTwoRestoresReplacesTheFirst() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let service = SnapshotService(core: installation.core)
        let snapshot = try await service.create(
          SnapshotService.Request(lsn: "0/1500100"), branch: scene.main, project: scene.project,
          account: scene.account
        ).snapshot
        var looks: [BranchID] = []
        for name in ["first", "second"] {
          let restored = try await service.restore(
            SnapshotID(snapshot.id), API.SnapshotRestoreRequest(name: name),
            project: scene.project, account: scene.account)
          try await installation.end(restored.operations)
          looks.append(BranchID(restored.branch.id))
        }
        func finalize(_ look: BranchID, _ oldName: String?) async throws -> [API.Operation] {
          let operations = try await scene.branches.finalizeRestore(
            look, name: oldName, project: scene.project, account: scene.account)
          return try await installation.end(operations)
        }
        installation.fleet.fail("start", with: [ComputeFleetError(.damaged, "layer 'x'")])
        #expect(try await finalize(looks[0], "kept").map(\.status) == [.failed, .skipped])
        while try await installation.core.catalog.read({ try !$0.unfinishedOperations().isEmpty }) {
          try await Task.sleep(for: .milliseconds(5))
        }
        #expect(await installation.fleet.running().map(\.lineID) == [scene.line])
        for (look, oldName) in zip(looks, ["main-1", "main-2"]) {
          let ended = try await finalize(look, oldName)
          #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
          #expect(try await scene.row(named: "main").id == look)
          try await scene.checkEndpoint()
        }
        #expect(try await scene.row(named: "main-2").id == looks[0])
        #expect(try await scene.row(named: "main-1").id == scene.main)
        let endpoint = try await installation.core.catalog.read { try $0.endpoint(scene.endpoint) }
        #expect(endpoint?.branchID == looks[1])
        // A third look would replace what stands there now.
        let third = try await service.restore(
          SnapshotID(snapshot.id), API.SnapshotRestoreRequest(name: "third"),
          project: scene.project, account: scene.account)
        try await installation.end(third.operations)
        #expect(try await scene.row(named: "third").restoredAs == looks[1])
      }
    }
  }

  /// What is listed of a branch is what its moment holds, owners included.
  @Test func aBranchOfThePastHasTheOwnersOfThen() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let line = try await scene.row(scene.dev).lineID.rawValue
        installation.tenants.inherit(
          TenantContents(
            databases: [
              DatabaseRequest(name: "exzodb", owner: "of then"),
              DatabaseRequest(name: "gone since", owner: "exzodb_owner"),
            ], roles: ["exzodb_owner", "of then"]), on: line)
        let made = try await EndpointService(core: installation.core).create(
          API.NewEndpoint(branchID: scene.dev.rawValue, type: .readWrite), project: scene.project,
          account: scene.account)
        let ended = try await installation.end(made.operations)
        #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
        func owners(_ branch: BranchID) async throws -> [String] {
          try await DatabaseService(core: installation.core).list(
            branch: branch, project: scene.project, account: scene.account
          ).map { "\($0.name): \($0.ownerName)" }.sorted()
        }
        #expect(try await owners(scene.dev) == ["exzodb: of then", "gone since: exzodb_owner"])
        #expect(try await owners(scene.main) == ["exzodb: exzodb_owner"])
      }
    }
  }

  @Test func aProtectedBranchIsNotReplacedUnlessForcedAndKeepsEndpointAndProject() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        let service = SnapshotService(core: core)
        let snapshot = SnapshotID(
          try await service.create(
            SnapshotService.Request(lsn: "0/1500100"), branch: scene.main, project: scene.project,
            account: scene.account
          ).snapshot.id)
        func restore(_ request: API.SnapshotRestoreRequest) async throws -> API.RestoredSnapshot {
          let answer = try await service.restore(
            snapshot, request, project: scene.project, account: scene.account)
          let ended = try await installation.end(answer.operations)
          #expect(ended.allSatisfy { $0.status == .finished }, "\(ended)")
          return answer
        }
        let look = BranchID(
          try await restore(API.SnapshotRestoreRequest(name: "look")).branch.id)
        _ = try await scene.branches.update(
          scene.main, API.BranchUpdate(isProtected: true), project: scene.project,
          account: scene.account)
        let refused = [
          try await installation.refusal {
            _ = try await scene.branches.finalizeRestore(
              look, name: nil, project: scene.project, account: scene.account)
          },
          try await installation.refusal {
            _ = try await restore(API.SnapshotRestoreRequest(finalizeRestore: true))
          },
          try await installation.refusal {
            _ = try await EndpointService(core: core).delete(
              scene.endpoint, project: scene.project, account: scene.account)
          },
          try await installation.refusal {
            _ = try await ProjectService(core: core).delete(scene.project, account: scene.account)
          },
        ]
        #expect(refused == Array(repeating: .branchIsProtected, count: 4))
        #expect(try await scene.row(named: "main").id == scene.main)
        try await scene.checkEndpoint()

        let forced = try await installation.end(
          try await scene.branches.finalizeRestore(
            look, name: "old", force: true, project: scene.project, account: scene.account))
        #expect(forced.allSatisfy { $0.status == .finished }, "\(forced)")
        let main = try await scene.row(named: "main")
        #expect(main.id == look && main.isProtected)
        let again = try await restore(
          API.SnapshotRestoreRequest(finalizeRestore: true, force: true)
        ).branch.id
        #expect(try await scene.row(named: "main").id.rawValue == again)
      }
    }
  }

  @Test func deletedBranchesAndProjectsComeBackWithinSevenDays() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let core = installation.core
        func delete(_ id: BranchID, forGood: Bool = false) async throws {
          try await installation.end(
            try await scene.branches.delete(
              id, project: scene.project, account: scene.account, forGood: forGood
            ).operations)
        }
        func recover(_ id: BranchID) async throws -> ControlPlaneError.Code? {
          try await installation.refusal {
            _ = try await scene.branches.recover(
              id, project: scene.project, account: scene.account)
          }
        }
        let endpoint = try await EndpointService(core: core).create(
          API.NewEndpoint(branchID: scene.dev.rawValue, type: .readWrite), project: scene.project,
          account: scene.account)
        try await installation.end(endpoint.operations)
        let before = try await scene.row(scene.dev).lineID
        installation.fleet.write(0x500, to: before.rawValue)
        try await delete(scene.dev)
        #expect(try await recover(BranchID("br-none")) == .branchNotFound)
        #expect(try await recover(scene.dev) == nil)
        #expect(try await recover(scene.dev) == nil)
        let row = try await scene.row(scene.dev)
        #expect(row.deletedAt == nil && row.lineID != before)
        let directory = EndpointDirectory(core: core)
        let compute = try await directory.wake(endpoint.endpoint.id)
        #expect(installation.fleet.lines[compute.lineID]?.parent == before.rawValue)
        #expect(installation.fleet.lines[compute.lineID]?.start == LSN(0x150_0800))
        let window = try await scene.branches.get(
          scene.dev, project: scene.project, account: scene.account
        ).branch.restoreWindow
        #expect(window?.earliestLSN == "0/1500300")

        try await delete(scene.dev)
        installation.clock.advance(7 * 86_400 + 1)
        #expect(try await recover(scene.dev) == .notRecoverable)
        let made = try await scene.branches.create(
          API.BranchCreateRequest(branch: API.NewBranch(name: "dev")), project: scene.project,
          account: scene.account)
        try await installation.end(made.operations)
        try await delete(BranchID(made.branch.id), forGood: true)
        #expect(try await recover(BranchID(made.branch.id)) == .notRecoverable)

        let projects = ProjectService(core: core)
        _ = try await projects.delete(scene.project, account: scene.account)
        let last = try await core.catalog.read { tx in
          try tx.operations(of: scene.project, PageRequest(limit: 1)).elements
        }
        _ = try await OperationService(core: core).end(of: last[0].id)
        let back = try await projects.recover(scene.project, account: scene.account)
        #expect(back.branches.map(\.id) == [scene.main.rawValue])
        #expect(try await directory.wake(scene.endpoint.rawValue).lineID != scene.line)
      }
    }
  }
}
