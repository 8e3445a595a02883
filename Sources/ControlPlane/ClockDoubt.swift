import Synchronization

/// Whether the machine's clock may be ahead: as long as it is doubted, nothing ends that was promised until a time.
///
/// *Purpose*: what ends takes its history with it. When a clock that was ahead is put right, history is collected at
/// once, and nobody would find again what had ended too early.
///
/// *Not guarded here*: the clock itself, which whoever collects history watches. Where nobody does, as in tests, it is
/// never doubted.
public final class ClockDoubt: Sendable {
  private let judge = Mutex<(@Sendable () -> Bool)?>(nil)

  init() {}

  /// From now on, `isDoubted` says whether the clock is doubted; it is asked often, and each time anew.
  public func follow(_ isDoubted: @escaping @Sendable () -> Bool) {
    judge.withLock { $0 = isDoubted }
  }

  /// Now. To be asked after the time was read by which something ends.
  var isDoubted: Bool {
    guard let judge = judge.withLock({ $0 }) else { return false }
    return judge()
  }
}
