import ObjectStorage
import PostgresFormat
import TestSupport

@testable import History

extension RetentionWorld {
  func collector(
    on store: any ObjectStore, _ clock: WorldClock, seed: UInt64
  ) -> HistoryCollector {
    HistoryCollector(
      environment: retentionEnvironment(
        store, random: SeededRandomSource(seed), now: { clock.now }),
      policy: policy)
  }

  /// Promises stand still, time goes on: then exactly what is needed is left.
  mutating func checkRest(_ clock: WorldClock) async throws {
    let start = windowStart.advanced(by: .zero - policy.margin)
    for id in lines.keys.sorted() where lines[id]!.hasBranch { try await writeManifest(id) }
    (sessions, choices) = ([], [])
    // What was evicted below the floor is not promised, and seeking it fails.
    let held = lines.keys.map { ($0, moments($0, since: start)) }
    frozen = Dictionary(uniqueKeysWithValues: held)
    for id in lines.keys where frozen![id]!.isEmpty { frozen![id] = [lines[id]!.end] }
    now = now.advanced(by: .seconds(200_000))
    let collector = collector(on: store, clock, seed: 1)
    try await settle(collector, clock)
    try await checkExactly()
    // Nothing that has gone is named for ever.
    for id in lines.keys.sorted() where lines[id]!.hasBranch {
      try await writeManifest(id, mayBeLate: false)
    }
    for _ in 0..<2 {
      clock.now = now
      _ = try await collector.collect(demands)
      now = now.advanced(by: policy.grace + .seconds(1))
    }
    clock.now = now
    _ = try await collector.collect(demands)
    try await checkForgotten()
  }

  /// Rounds until nothing goes any more. Lines that share ancestors thin the same keyframes: what one leaves for the
  /// other's sake may let it do without another in the round after.
  private mutating func settle(_ collector: HistoryCollector, _ clock: WorldClock) async throws {
    var quiet = 0
    for _ in 0..<40 {
      clock.now = now
      let report = try await collector.collect(demands)
      now = now.advanced(by: policy.grace + .seconds(1))
      quiet = report.linesEvicted + report.objectsDeleted + report.linesRemoved == 0 ? quiet + 1 : 0
      if quiet == 3 { return }
    }
    throw Broken("the collector comes to no end")
  }

  private mutating func checkExactly() async throws {
    let needed = try await neededKeys()
    let living = livingLines
    for key in store.keys {
      let parts = key.split(separator: "/")
      let line = LineID(rawValue: String(parts[1]))
      guard living.contains(line) else { throw Broken("'\(key)' of a dead line") }
      switch parts[2] {
      case "wal", "layers", "keyframes":
        guard needed.contains(key) else {
          throw Broken("'\(key)' is left\n\(try await explanation(of: line))")
        }
      case "owner":
        let count = store.keys.filter { $0.hasPrefix("lines/\(line)/owner/") }.count
        guard count == 1 else { throw Broken("\(count) owners of line \(line)") }
      case "manifest", "evicted":
        let prefix = "lines/\(line)/\(parts[2])/"
        let count = store.keys.filter { $0.hasPrefix(prefix) }.count
        guard count <= 2 else { throw Broken("\(count) of '\(prefix)'") }
      default: break
      }
    }
  }

  /// What a line and its relatives hold, and what is wanted of them.
  private func explanation(of line: LineID) async throws -> String {
    var text = ""
    for (id, demand) in demands.sorted(by: { $0.key < $1.key })
    where store[LineKeys(line: id).description.name] != nil {
      let contents = try await LineContents.load(id, store: store)
      let origin = contents.description.parent
      text += "\(id == line ? "*" : " ")\(id) from \(contents.description.startLSN)"
      text += " on \(origin.map { "\($0.line) \($0.isLazy ? "lazy" : "")" } ?? "-")"
      text += " window \(demand.window.map { "\($0)" } ?? "-") moments \(demand.moments)"
      text += " promised \(frozen?[id] ?? []) floor \(lines[id]!.floor)\n"
      for keyframe in contents.keyframes {
        let state = contents.evictions.keyframe(keyframe.number)
        text += "    keyframe \(keyframe.number) at \(keyframe.consistentLSN) from "
        text += "\(keyframe.oldestRedoLSN) \(keyframe.isComplete ? "complete" : "")"
        text += " \(state.map { $0.isDropped ? "dropped" : "withdrawn" } ?? "") made "
        text += "\(keyframe.createdAt.rawValue / 1_000_000)\n"
      }
      text += "    WAL \(contents.spans().map { "\($0.chunk.number) \($0.startLSN)-\($0.endLSN)" })"
      text += " evicted \(contents.evictions.wal.map(\.range))\n"
    }
    return text
  }

  /// Of a line that is written, evictions name no keyframe that its writer has forgotten.
  private func checkForgotten() async throws {
    for (id, line) in lines where line.hasBranch {
      let contents = try await LineContents.load(id, store: store)
      if let left = contents.evictions.keyframes.first(where: \.isDropped) {
        throw Broken("keyframe \(left.number) of line \(id) is still named")
      }
    }
  }
}
