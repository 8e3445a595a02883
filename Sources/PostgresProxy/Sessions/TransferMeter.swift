import NIOCore

/// Counts the bytes of one session and reports them at most once a second, and at its end.
///
/// *Concurrency*: used on one event loop only.
final class TransferMeter {
  private let eventLoop: any EventLoop
  private let interval: TimeAmount
  private let report: (Int) -> Void
  private var unreported = 0
  private var timer: Scheduled<Void>?

  init(
    eventLoop: any EventLoop, interval: TimeAmount = .seconds(1), report: @escaping (Int) -> Void
  ) {
    self.eventLoop = eventLoop
    self.interval = interval
    self.report = report
  }

  func add(_ bytes: Int) {
    unreported += bytes
    guard timer == nil else { return }
    timer = eventLoop.assumeIsolated().scheduleTask(in: interval) { [weak self] in
      self?.timer = nil
      self?.flush()
    }
  }

  /// Reports what is left; the session is over.
  func finish() {
    timer?.cancel()
    timer = nil
    flush()
  }

  private func flush() {
    guard unreported > 0 else { return }
    report(unreported)
    unreported = 0
  }
}
