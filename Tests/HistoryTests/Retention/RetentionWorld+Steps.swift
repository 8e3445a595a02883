import ObjectStorage
import PostgresFormat
import TestSupport

@testable import History

extension RetentionWorld {
  private mutating func any(_ ids: [LineID]) -> LineID? {
    ids.isEmpty ? nil : ids[pick(ids.count)]
  }

  private var branches: [LineID] { lines.keys.filter { lines[$0]!.hasBranch }.sorted() }
  private var sources: [LineID] { lines.keys.filter { !promised($0).isEmpty }.sorted() }

  /// One thing that users, writers or time do.
  mutating func step() async throws {
    switch pick(17) {
    case 0...5: try await work()
    case 6: advance(3600)
    case 7: try await branch()
    case 8: pin()
    case 9: unpin()
    case 10:
      if branches.count > 1, let id = any(branches) {
        lines[id]!.hasBranch = false
      }
    case 11: changeWindow()
    case 12: if let id = any(branches) { try await mergeChunks(id) }
    case 13: if let id = any(branches) { try await takeOver(id) }
    case 15: if let id = any(branches) { try await moveBase(id) }
    case 14: if let id = any(branches) { try await keyframe(id, complete: chance(3)) }
    default: try await read()
    }
  }

  mutating func advance(_ seconds: Int) {
    now = PostgresTimestamp(now.rawValue + Int64(60 + pick(seconds)) * 1_000_000)
  }

  private mutating func work() async throws {
    guard let id = any(branches) else { return }
    for _ in 0...pick(3) {
      try await append(id)
      advance(900)
    }
    if chance(2) { try await keyframe(id, complete: chance(3)) }
    if chance(3) { try await writeManifest(id) }
  }

  /// Chooses a promised moment under a lease, as a request does; the line is made now or later.
  private mutating func branch() async throws {
    if let choice = choices.popLast(), choice.expiry > now { try await open(choice) }
    guard let source = any(sources) else { return }
    let moments = promised(source)
    let lsn = moments[pick(moments.count)]
    let moment = try await LineHistory.open(source, store: store)
      .seek(.lsn(lsn), now: PostgresTimestamp(.max))
    let choice = Choice(
      source: source, moment: moment, expiry: now.advanced(by: .seconds(1200)))
    pins.append(Pin(line: source, lsn: lsn, expiry: choice.expiry))
    if chance(2) { choices.append(choice) } else { try await open(choice) }
  }

  private mutating func open(_ choice: Choice) async throws {
    let (moment, source) = (choice.moment, choice.source)
    guard lines.count < 9 else { return }
    let isLazy = chance(2) && moment.keyframe.layers.count < 5
    guard let complete = moment.complete else { throw Broken("no complete keyframe") }
    let origin = LineOrigin(
      line: moment.line, branchLSN: moment.lsn,
      base: isLazy ? moment.keyframe.image : complete.groups, tree: isLazy ? testTree() : nil)
    // Where the source's own window is not kept, the child's cannot reach back behind it.
    let floor = lines[source]!.hasBranch ? lines[source]!.floor : moment.lsn
    try await addLine(parent: origin, start: moment.lsn, floor: floor)
  }

  /// A session begins, and another one ends.
  private mutating func read() async throws {
    if sessions.count > 1 { sessions.remove(at: pick(sessions.count)) }
    guard let id = any(sources) else { return }
    let moments = promised(id)
    let moment = try await LineHistory.open(id, store: store)
      .seek(.lsn(moments[pick(moments.count)]), now: PostgresTimestamp(.max))
    sessions.append(Session(line: id, moment: moment, since: now))
  }

  private mutating func pin() {
    guard let id = any(sources) else { return }
    let moments = promised(id)
    let expiry = PostgresTimestamp(now.rawValue + 1_200_000_000)
    pins.append(
      Pin(line: id, lsn: moments[pick(moments.count)], expiry: chance(2) ? expiry : nil))
  }

  /// Who gives a lease up opens nothing under it.
  private mutating func unpin() {
    guard !pins.isEmpty else { return }
    let pin = pins.remove(at: pick(pins.count))
    choices.removeAll { $0.source == pin.line && $0.moment.lsn == pin.lsn }
  }

  private mutating func changeWindow() {
    let next = Int64([0, 3600, 14_400, 86_400, 259_200][pick(5)])
    if next > window { floorTime = windowStart }
    window = next
  }

  struct Broken: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
  }
}
