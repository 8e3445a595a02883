import Foundation
import History
import Volume

/// What the volume of a line that was opened without replay reads below its own blocks.
extension Agent {
  private static let retryInterval: TimeInterval = 60
  private static let damageInterval: TimeInterval = 600

  /// Makes the pages that the WAL changed, so that reads find them; at low priority, on a thread of its own.
  func makePagesAhead(_ view: LazyBaseView) {
    Thread.detachNewThread { [log] in
      // Many layers are gathered by the next keyframe, if these pages are made by then.
      if view.maker.image.layerCount <= KeyframePolicy.crowdedLayers { view.waitUntilReadersRest() }
      let clock = ContinuousClock.now
      while true {
        do {
          try view.makeAhead()
          guard let alarm = view.notMade.withLock({ $0.alarm }) else { break }
          log.error("not all pages were made ahead of reads", metadata: ["error": "\(alarm)"])
          // An object that is missing may come back.
          Thread.sleep(forTimeInterval: Self.damageInterval)
          if view.isClosed.load(ordering: .relaxed) { break }
        } catch {
          // Until all are made, the line cannot leave its base.
          log.warning("making pages ahead of reads failed", metadata: ["error": "\(error)"])
          Thread.sleep(forTimeInterval: Self.retryInterval)
        }
      }
      log.info(
        "pages made ahead of reads",
        metadata: [
          "pages": "\(view.made.load(ordering: .relaxed))",
          "seconds": "\((ContinuousClock.now - clock).seconds)",
        ])
    }
  }

  /// Lets the volume leave its base once it can.
  func startDeparture(
    _ prepared: PreparedCompute, _ keyframes: KeyframeService, _ server: ServerSession,
    _ environment: HistoryEnvironment
  ) {
    guard let base = prepared.base else { return }
    let departure = BaseDeparture(
      base: base, former: FormerBase(prepared.lazy), writer: prepared.writer, keyframes: keyframes,
      server: server, log: log,
      storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem),
      pause: specification.pausesLeavingBase)
    background.append(Task { await departure.run { await self.forgetBase() } })
  }

  /// Pages made for the former base go, and what made them.
  private func forgetBase() async {
    prepared?.lazy = nil
    await keyframes?.forgetBase()
  }
}
