import Foundation
import Glibc
import PostgresFormat

/// Tells whether the machine's clock is believed before history is deleted by it, or what keeps history ends.
///
/// ## Purpose
/// What a clock that is ahead makes leave the window is gone when it is put right. So a clock that has moved on
/// more than time has passed is doubted until it has gone on in step for ``patience``: long enough for it to be
/// put right by those who keep clocks, and for an operator to be told.
///
/// ## State and invariants
/// 1. What is believed is not more than ``tolerance`` ahead of the last reading that was believed and the time
///    that has passed since, as far as that is known, or has gone on in step for ``patience``.
/// 2. A clock that is behind is believed: it deletes less.
///
/// ## Crash
/// Kept in ``CollectorMemory``. Without it any clock is doubted for ``patience``.
public struct ClockWatch: Codable, Hashable, Sendable {
  /// What a machine's clocks show at one moment.
  public struct Reading: Codable, Hashable, Sendable {
    public var time: PostgresTimestamp
    /// Since the machine booted, the time that it slept included.
    public var uptime: Duration
    /// Tells one boot of the machine from another.
    public var boot: String

    public init(time: PostgresTimestamp, uptime: Duration, boot: String) {
      self.time = time
      self.uptime = uptime
      self.boot = boot
    }
  }

  /// Why a clock is not believed yet.
  public struct Doubt: Hashable, Sendable, CustomStringConvertible {
    /// How far it is ahead of the time that is known to have passed; `nil` where nothing is known.
    public var ahead: Duration?
    /// How long it has to go on in step.
    public var remaining: Duration

    public var description: String {
      let reason =
        ahead.map {
          "is \($0.components.seconds) s ahead of the time that is known to have passed since history "
            + "was last collected"
        } ?? "has not been watched yet"
      return
        "collect history: the machine's clock \(reason). History that it makes too old is deleted for good, so "
        + "nothing is deleted for another \(remaining.components.seconds) s in which it goes on evenly. "
        + "If it is wrong, put it right"
    }
  }

  private var believed: Reading?
  /// The first of the readings that are doubted and in step with each other.
  private var doubted: Reading?

  /// How far ahead a clock is believed to be put at once, and how evenly it goes.
  public static let tolerance: Duration = .seconds(900)
  /// How long a clock has to go on in step that is further ahead.
  public static let patience: Duration = .seconds(3600)

  public init() {}

  /// Takes a reading in.
  /// - Parameter mayLose: whether there is anything that could be deleted; where there is not, and no clock is
  ///   known yet, this one is as good as any.
  /// - Returns: `nil` where it is believed.
  public mutating func doubt(_ reading: Reading, mayLose: Bool) -> Doubt? {
    let ahead = ahead(reading)
    if ahead.map({ $0 <= Self.tolerance }) ?? !mayLose {
      believe(reading)
      return nil
    }
    let first = doubted.flatMap { Self.isInStep($0, reading) ? $0 : nil } ?? reading
    let waited = reading.uptime - first.uptime
    if waited >= Self.patience {
      believe(reading)
      return nil
    }
    doubted = first
    return Doubt(ahead: ahead, remaining: Self.patience - waited)
  }

  /// Whether a clock is not ahead of the time that is known to have passed since a reading was last believed. Takes
  /// nothing in: a clock may be asked about often, and does not creep ahead by that.
  public func believes(_ reading: Reading) -> Bool {
    ahead(reading).map { $0 <= Self.tolerance } ?? false
  }

  /// - Returns: `nil` where no reading was ever believed.
  private func ahead(_ reading: Reading) -> Duration? {
    believed.map { reading.time.since($0.time) - Self.passed(since: $0, reading) }
  }

  private mutating func believe(_ reading: Reading) {
    believed = reading
    doubted = nil
  }

  /// How much time has passed at the least: of another boot that since it began.
  private static func passed(since last: Reading, _ reading: Reading) -> Duration {
    reading.boot == last.boot ? reading.uptime - last.uptime : reading.uptime
  }

  private static func isInStep(_ first: Reading, _ reading: Reading) -> Bool {
    guard reading.boot == first.boot, reading.uptime >= first.uptime else { return false }
    let gained = reading.time.since(first.time) - (reading.uptime - first.uptime)
    return gained <= tolerance && gained >= .zero - tolerance
  }
}

extension ClockWatch.Reading {
  /// Of this machine, now.
  public static func now() -> ClockWatch.Reading {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    // Where it cannot be read, a reboot looks like a clock that went on: doubted for longer.
    let boot = try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
    return ClockWatch.Reading(
      time: HistoryEnvironment.systemTime(),
      uptime: .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec),
      boot: (boot ?? "").trimmingCharacters(in: .whitespacesAndNewlines))
  }
}
