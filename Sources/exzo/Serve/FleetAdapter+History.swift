import ControlPlane
import DurableIO
import Foundation
import History
import ObjectStorage
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
    guard !window.hasEnded, time >= window.earliestTime, time <= window.latestTime else {
      return nil
    }
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

  /// A chunk at the end that cannot be read would be passed over by whoever goes on from there, and its
  /// commits with it: then nothing is taken over.
  func takeOver(line: String) async throws -> ResolvedMoment? {
    let id = LineID(rawValue: line)
    guard try await store.size(ObjectKey("lines/\(line)/line")) != nil else { return nil }
    do {
      return try await translating {
        let before = try await LineHistory.open(id, store: self.store)
        let own = "lines/\(line)/wal/"
        if let damage = await before.damages.first(where: { $0.key?.hasPrefix(own) ?? false }) {
          throw ComputeFleetError(.damaged, damage.description)
        }
        let environment = self.historyEnvironment(spool: "/nonexistent")
        _ = try await LineWriter.resume(id, environment: environment)
        let history = try await LineHistory.open(id, store: self.store)
        let head = try await history.seek(.head, now: HistoryEnvironment.systemTime())
        return ResolvedMoment(lineID: line, lsn: head.lsn)
      }
    } catch let error as ComputeFleetError where error.code == .unknownLine {
      // An ancestor's description is missing.
      throw ComputeFleetError(.damaged, error.message)
    }
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
