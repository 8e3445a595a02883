import PostgresClient
import PostgresFormat

/// Capture's positions and the decisions that follow from them; no effects.
struct CaptureState {
  enum Level { case received, flushed, uploaded, serverEnded }

  struct Waiter {
    var level: Level
    var lsn: LSN
    var continuation: CheckedContinuation<LSN, any Error>
  }

  enum SealAction: Equatable {
    case seal(upTo: LSN)
    /// Nothing is due before this much time, or before the next signal.
    case wait(Duration?)
    case stop
  }

  var serverLSN: LSN
  /// Where the stream goes on; below `uploaded` only while known bytes come again.
  var received: LSN
  var flushed: LSN
  var uploaded: LSN
  /// Counted up when what was received after the last sync does not count any more.
  var generation = 0
  var timeline: TimelineID
  /// Switches of the timeline that the sealing thread has not taken yet.
  var cuts: [TimelineSwitch] = []
  var isStreaming = false
  /// When the server last said something and all that it had was received; by our clock.
  var heldUntil: PostgresTimestamp?
  /// The server's files are read instead of a stream.
  var isReadingFiles = false
  /// Only a stream will do from now on.
  var wantsStream = false
  /// Uptime before which files are left alone.
  var filesNotBefore = Duration.zero
  var isStoreReachable = true
  /// Chunks on their way to the store.
  var uploads = 0
  /// The end of what has set out, or need not.
  var taken: LSN
  /// Uptime at which the last one set out.
  var lastUpload = Duration.zero
  /// What one takes, smoothed.
  private var uploadTime = Duration.zero
  private static let longestUpload = Duration.seconds(1)
  var isStopping = false
  var failure: CaptureError?
  var sealRequested = false
  var flushTarget = LSN.invalid
  /// Uptime when the oldest byte that is not sealed came.
  var firstUnsealed: Duration?
  var announcedFilling = 0
  var waiters: [UInt64: Waiter] = [:]
  var nextWaiter: UInt64 = 0
  private(set) var pendingCommits: [(end: LSN, time: PostgresTimestamp)] = []
  /// More entries than this are thinned out; the older of two stays, so that lag is never
  /// understated.
  private static let pendingCommitLimit = 4096

  init(received: LSN, uploaded: LSN, timeline: TimelineID) {
    self.received = received
    self.uploaded = uploaded
    taken = uploaded
    flushed = received
    serverLSN = max(received, uploaded)
    self.timeline = timeline
  }

  /// What the server may be told.
  func reportable(_ durability: CaptureDurability) -> LSN {
    switch durability {
    case .local: max(flushed, uploaded)
    case .objectStore: uploaded
    // Our store must not hold up another's server, which waits for us when it shuts down.
    case .following: isStoreReachable ? uploaded : max(flushed, uploaded)
    }
  }

  func level(_ level: Level) -> LSN {
    switch level {
    case .received, .serverEnded: max(received, uploaded)
    case .flushed: max(flushed, uploaded)
    case .uploaded: uploaded
    }
  }

  /// Takes the waiters whose wish has come true.
  mutating func takeSatisfied() -> [(Waiter, LSN)] {
    let ready = waiters.filter {
      $0.value.level != .serverEnded && level($0.value.level) >= $0.value.lsn
    }
    for key in ready.keys { waiters[key] = nil }
    return ready.values.map { ($0, level($0.level)) }
  }

  /// What the sealing thread does next.
  func sealAction(now: Duration, interval: Duration, limit: Int, durability: CaptureDurability)
    -> SealAction
  {
    if isStopping || failure != nil { return .stop }
    let pace = durability == .objectStore ? pace(now: now, durability) : nil
    guard received > flushed, let first = firstUnsealed else {
      return .wait(flushed > taken ? pace : nil)
    }
    let isWaitedFor = pace == .zero
    let due = first + interval
    if sealRequested || isWaitedFor || flushTarget > flushed || due <= now
      || received - flushed >= UInt64(limit)
    {
      return .seal(upTo: received)
    }
    return .wait(min(due - now, pace ?? due - now))
  }

  /// How long the next chunk waits before it sets out: not at all where none is on its way, else so that those on
  /// their way are spread over the time that one takes: setting out together they would arrive together, and
  /// whoever comes meanwhile would wait for two. `nil` is until one has arrived.
  func pace(now: Duration, _ durability: CaptureDurability) -> Duration? {
    if uploads == 0 { return .zero }
    guard uploads < durability.uploadsAtOnce else { return nil }
    return max(.zero, lastUpload + uploadTime / durability.uploadsAtOnce - now)
  }

  mutating func didSetOut(upTo end: LSN, now: Duration) {
    uploads += 1
    taken = max(taken, end)
    lastUpload = now
  }

  mutating func didSeal(upTo end: LSN, firstCommit: PostgresTimestamp?, now: Duration) {
    flushed = end
    sealRequested = false
    firstUnsealed = received > end ? now : nil
    guard let firstCommit else { return }
    if pendingCommits.count >= CaptureState.pendingCommitLimit {
      pendingCommits = pendingCommits.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
    }
    pendingCommits.append((end, firstCommit))
  }

  /// - Parameter time: what the upload took.
  mutating func didUpload(upTo end: LSN, in time: Duration) {
    uploads -= 1
    let time = min(time, Self.longestUpload)
    uploadTime = uploadTime == .zero ? time : (uploadTime * 7 + time) / 8
    uploaded = max(uploaded, end)
    pendingCommits.removeAll { $0.end <= uploaded }
  }

  /// What was received after the last sync does not count.
  mutating func rewind() {
    received = flushed
    firstUnsealed = nil
    generation += 1
  }

  func lag(now: PostgresTimestamp) -> Duration {
    guard let oldest = pendingCommits.map(\.time).min() else { return .zero }
    return .microseconds(max(0, now.rawValue - oldest.rawValue))
  }

  /// Bytes that wait in the spool for the store.
  var spooledBytes: UInt64 { received > uploaded ? received - uploaded : 0 }

  /// The highest of 50, 80 and 100 per cent that the spool reaches, where it was not told yet.
  mutating func fillingToAnnounce(limit: UInt64) -> Int? {
    let bytes = spooledBytes
    let percent = [100, 80, 50].first { bytes >= limit / 100 * UInt64($0) } ?? 0
    defer { announcedFilling = percent }
    return percent > announcedFilling ? percent : nil
  }
}
