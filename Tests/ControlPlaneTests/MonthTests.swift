import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Testing

@testable import ControlPlane

/// A month of schedules on many branches, in simulated time.
@Suite(.serialized) struct MonthTests {
  private static let branches = 100
  /// Branches with a snapshot every hour; all have one every day.
  private static let hourly = 4
  private static let hour: TimeInterval = 3600

  private func makeBranches(_ scene: PastScene) async throws -> [BranchID] {
    var branches: [BranchID] = []
    for number in 0..<Self.branches {
      let made = try await scene.branches.create(
        API.BranchCreateRequest(branch: API.NewBranch(name: "b\(number)")),
        project: scene.project, account: scene.account)
      try await scene.installation.end(made.operations)
      branches.append(BranchID(made.branch.id))
    }
    return branches
  }

  private func schedule(_ number: Int) -> API.BackupSchedule {
    var items = [
      API.BackupScheduleItem(frequency: .daily, hour: number % 24, retentionSeconds: 3 * 86_400)
    ]
    if number < Self.hourly { items.append(.init(frequency: .hourly, retentionSeconds: 6 * 3600)) }
    return API.BackupSchedule(schedule: items)
  }

  @Test func hourlyAndDailySnapshotsOfAHundredBranches() async throws {
    try await Installation.with { installation in
      try await installation.working {
        let scene = try await PastScene(installation)
        let (core, clock) = (installation.core, installation.clock)
        let branches = try await makeBranches(scene)
        let service = ScheduleService(core: core, kinds: [.snapshot])
        for (number, branch) in branches.enumerated() {
          try await service.set(
            schedule(number), branch: branch, project: scene.project, account: scene.account)
        }
        var made: Set<String> = []
        for tick in 1...30 * 24 {
          clock.advance(Self.hour)
          // A scheduler that was started anew, as often as not.
          let scheduler = BackupScheduler(
            core: core, actions: [.snapshot: SnapshotBackup(core: core)])
          for _ in 0..<3 { try await scheduler.round() }
          try await core.catalog.write { [now = clock.now] in
            _ = try $0.expireSnapshots(
              at: now, projectsDeletedBefore: now.addingTimeInterval(-Presenter.recoverySeconds))
          }
          let kept = try await core.catalog.read { [project = scene.project] in
            try $0.snapshots(of: project)
          }
          made.formUnion(kept.map(\.id.rawValue))
          if tick % 24 == 0 { try await check(kept, branches, scene, day: tick / 24) }
        }
        // Each once: 30 days of each, and an hour's snapshot for each hour.
        #expect(made.count == 30 * Self.branches + 30 * 24 * Self.hourly)
      }
    }
  }

  private func check(
    _ kept: [SnapshotRecord], _ branches: [BranchID], _ scene: PastScene, day: Int
  ) async throws {
    let counts = Dictionary(grouping: kept, by: \.branchID).mapValues(\.count)
    for (number, branch) in branches.enumerated() {
      let expected = min(day, 3) + (number < Self.hourly ? 6 : 0)
      #expect(counts[branch] == expected, "branch \(number), day \(day)")
    }
    // What the collector is told is what there is, and the moments of the branches that nobody opened.
    let promises = try await RetentionService(core: scene.core).promises()
    let moments = promises.reduce(0) { $0 + $1.moments.count }
    #expect(moments >= kept.count && moments <= kept.count + Self.branches + 1)
  }
}
