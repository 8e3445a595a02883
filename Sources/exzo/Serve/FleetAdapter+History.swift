import ControlPlane
import DurableIO
import Foundation
import History
import PostgresFormat

extension FleetAdapter {
  /// For whoever reads history and writes no line.
  func historyEnvironment(spool: String) -> HistoryEnvironment {
    HistoryEnvironment(
      store: store, fileSystem: SystemFileSystem(), threads: BlockingThreads(count: 1),
      spoolDirectory: spool, now: { [clock] in PostgresTimestamp(clock.now) })
  }

  /// A time after which something is stored already: no newer commit changes what it means, and the compute is
  /// not asked. `nil` where that is not so.
  func past(_ line: String, _ moment: MomentRequest) async throws -> ResolvedMoment? {
    guard case .time(let time) = moment else { return nil }
    let history = try await history(line)
    let window = try await window(of: history, head: nil)
    guard time >= window.earliestTime, time <= window.latestTime else { return nil }
    let now = PostgresTimestamp(clock.now)
    let found: Moment
    do {
      found = try await history.seek(.time(PostgresTimestamp(time)), now: now)
    } catch let error as HistoryError where error.code == .beforeStart {
      throw ComputeFleetError(.outOfWindow(window), error.description)
    }
    guard found.lsn < (try await history.seek(.head, now: now)).lsn else { return nil }
    return ResolvedMoment(lineID: line, lsn: max(found.lsn, window.earliestLSN), time: time)
  }

  /// Of the line alone: what its children or snapshots need nevertheless is counted as well.
  func historyCost(line: String, before date: Date) async -> HistoryCost? {
    guard LineID.isValid(line) else { return nil }
    let line = LineID(rawValue: line)
    do {
      let sizes = try await HistorySizes.read(
        [line], environment: historyEnvironment(spool: "/nonexistent"))
      let shrinkage = sizes.shrinkage(
        from: [line: LineDemand(window: .everything)],
        to: [line: LineDemand(window: .since(PostgresTimestamp(date)))])
      return HistoryCost(bytes: Int(shrinkage.bytes), commits: Int(shrinkage.commits))
    } catch {
      log.warning("the cost of a window is unknown", metadata: ["error": "\(error)"])
      return nil
    }
  }
}
