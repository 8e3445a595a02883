import PostgresFormat

/// How history is thinned and when what is not needed goes.
public struct RetentionPolicy: Hashable, Sendable {
  /// Keyframes older than `age` are that far apart.
  public struct Spacing: Hashable, Sendable {
    public var age: Duration
    public var interval: Duration
    public init(age: Duration, interval: Duration) {
      self.age = age
      self.interval = interval
    }
  }

  /// In order of their ages. Younger keyframes than the first age are not thinned.
  public var spacings = [
    Spacing(age: .seconds(3600), interval: .seconds(600)),
    Spacing(age: .seconds(86_400), interval: .seconds(3600)),
  ]
  /// Thinning leaves no tail longer than this. Where keyframes were further apart when they were made,
  /// tails are as long as they were.
  public var maximumTailBytes: UInt64 = 128 << 20
  /// How long the objects of a withdrawn keyframe stay. Longer than any lease, so that whoever chose it
  /// before has ended, or has a line that needs its layers.
  public var grace: Duration = .seconds(3600)
  /// How much more than the window is kept: for requests that were promised a moment and have not
  /// leased it yet.
  public var margin: Duration = .seconds(900)

  public init() {}

  func interval(atAge age: Duration) -> Duration? {
    spacings.last { $0.age <= age }?.interval
  }

  /// Which of some keyframes stay. The first and the last one always do.
  /// - Parameter keyframes: in order of their consistent LSN.
  func thinned(_ keyframes: [Keyframe], now: PostgresTimestamp) -> [Keyframe] {
    guard var last = keyframes.first else { return [] }
    var kept = [last]
    for (index, keyframe) in keyframes.enumerated().dropFirst() {
      let goes =
        index + 1 < keyframes.count
        && interval(atAge: now.since(keyframe.createdAt)).map {
          isClose(last, keyframes[index + 1], interval: $0)
        } ?? false
      if goes { continue }
      kept.append(keyframe)
      last = keyframe
    }
    return kept
  }

  /// Whether moments up to the second one can be opened from the first one.
  private func isClose(_ first: Keyframe, _ second: Keyframe, interval: Duration) -> Bool {
    second.createdAt.since(first.createdAt) <= interval
      && second.consistentLSN - first.redoLSN <= maximumTailBytes
  }
}

extension PostgresTimestamp {
  func since(_ earlier: PostgresTimestamp) -> Duration {
    .microseconds(rawValue - earlier.rawValue)
  }

  /// Held within what can be told.
  func advanced(by duration: Duration) -> PostgresTimestamp {
    let (seconds, attoseconds) = duration.components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
    let limit: Int64 = seconds < 0 ? .min : .max
    if overflow { return PostgresTimestamp(limit) }
    let (sum, tooFar) = rawValue.addingReportingOverflow(whole + attoseconds / 1_000_000_000_000)
    return PostgresTimestamp(tooFar ? limit : sum)
  }
}
