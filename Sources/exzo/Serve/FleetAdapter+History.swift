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
