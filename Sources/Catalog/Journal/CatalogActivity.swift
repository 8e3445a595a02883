import Synchronization

/// Which writes to the catalog may not be in the object store yet.
///
/// A write is under way from ``begin()`` to ``end()``; whoever publishes looks at ``mark`` before it
/// reads, and says ``published(upTo:)`` when what it read is stored.
public final class CatalogActivity: Sendable {
  private struct State {
    /// Counts writes that have ended.
    var clock: UInt64 = 0
    var published: UInt64 = 0
    var inFlight = 0
    var bell: AsyncStream<Void>.Continuation?
    var dirtySince: ContinuousClock.Instant?
  }

  private let state = Mutex(State())

  func begin() { state.withLock { $0.inFlight += 1 } }

  /// - Parameter changed: `false` where nothing was written after all.
  func end(changed: Bool = true) {
    state.withLock { state in
      state.inFlight -= 1
      guard changed else { return }
      state.clock += 1
      if state.dirtySince == nil { state.dirtySince = .now }
      state.bell?.yield()
    }
  }

  /// What of the catalog was read after this was taken holds for as long as it stays the same; `nil` while a
  /// write is under way.
  public var restingMark: UInt64? { state.withLock { $0.inFlight == 0 ? $0.clock : nil } }

  var mark: UInt64 { state.withLock { $0.clock } }

  func published(upTo mark: UInt64) {
    state.withLock { state in
      state.published = max(state.published, mark)
      state.dirtySince = state.published == state.clock ? nil : .now
    }
  }

  /// Whether every write that has been begun is stored.
  var isClean: Bool { state.withLock { $0.inFlight == 0 && $0.published == $0.clock } }

  /// Age of the oldest write that may not be stored; `nil` where there is none.
  public var exposure: Duration? {
    state.withLock { $0.dirtySince.map { ContinuousClock.now - $0 } }
  }

  /// Rings after each write; one listener at a time.
  func bell() -> AsyncStream<Void> {
    let (stream, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    state.withLock { $0.bell = bell }
    return stream
  }

  func ring() { state.withLock { _ = $0.bell?.yield() } }
}
