import Dispatch
import DurableIO
import PostgresClient
import PostgresFormat

/// The receiving thread: connection, slot, stream.
extension WALCapture {
  /// The life of the receiving thread.
  func receiveUntilStopped() {
    var attempt = 0
    while !isEnding {
      do {
        if try stream({ attempt = 0 }) == .busy {
          state.withLock { $0.isStreaming = false }
          followFiles()
          continue
        }
      } catch let error as CaptureError {
        return fail(error)
      } catch {
        eventSink.yield(error is FileError ? .spoolFailed(error) : .disconnected(error))
      }
      state.withLock { $0.isStreaming = false }
      attempt += 1
      let bounds = configuration.retryPause
      pause(
        configuration.clock.pause(
          attempt: attempt,
          bounds
            .lowerBound...max(
              bounds.lowerBound, min(bounds.upperBound, .seconds(1)))))
    }
  }

  /// Why a stream ended without an error.
  private enum StreamEnd { case byServer, busy }

  /// One connection's life. Returns where the server ended it, or where it brings so much that its files are read
  /// instead.
  private func stream(_ didStart: () -> Void) throws -> StreamEnd {
    var parameters = configuration.connection
    parameters.applicationName = configuration.slotName
    let connection = try ReplicationConnection(try configuration.pin(parameters))
    defer { connection.close() }
    let (start, timeline) = try preparedStart(connection)
    let generation = state.withLock { $0.generation }
    let isNewSlot = try ensureSlot(connection, from: start)
    if let next = try connection.startStreaming(
      slot: configuration.slotName, from: start, timeline: timeline)
    {
      switchTimeline(next)
      return .byServer
    }
    // Commits that wait for the store wait for these two as well.
    if configuration.durability == .local, let sender = connection.localProcess {
      BatchScheduling.apply(to: sender)
      BatchScheduling.enter()
    }
    var session = StreamSession(
      generation: generation, slotIsNew: isNewSlot, now: configuration.clock.uptime())
    // Not before the first message: a status would set a new slot back to WAL that may be gone.
    do {
      while !isEnding, !session.isEnded {
        try step(connection, &session)
        if !session.isFirstMessage { didStart() }
        if session.isBusy, mayReadFiles { return .busy }
      }
      return .byServer
    } catch let error as PostgresError where error.sqlState == "58P01" {
      // The server no longer has the WAL that must come next.
      throw try gapError(from: start)
    }
  }

  /// Checks that this is the right server, and finds position and timeline to start from.
  private func preparedStart(_ connection: ReplicationConnection) throws -> (LSN, TimelineID) {
    let system = try connection.identifySystem()
    guard system.systemIdentifier == line.systemIdentifier else {
      throw CaptureError(
        .wrongServer, "stream WAL",
        detail: "system identifier \(system.systemIdentifier), expected \(line.systemIdentifier)")
    }
    try configuration.accept(system)
    let (start, timeline) = state.withLock { state in
      state.serverLSN = max(state.serverLSN, system.flushedLSN)
      return (state.received, state.timeline)
    }
    let needed = state.withLock { $0.level(.received) }
    guard system.flushedLSN >= needed else {
      throw CaptureError(
        .serverBehind, "stream WAL", lsn: needed,
        detail: "the server's WAL ends at \(system.flushedLSN)")
    }
    guard system.timeline != timeline else { return (start, timeline) }
    let history = TimelineHistory(bytes: try connection.timelineHistory(system.timeline))
    let now = history.timeline(at: start, latest: system.timeline)
    if now != timeline { switchTimeline(TimelineSwitch(timeline: now, startLSN: start)) }
    return (start, now)
  }

  private func switchTimeline(_ next: TimelineSwitch) {
    state.withLock { state in
      state.timeline = next.timeline
      state.cuts.append(next)
    }
    eventSink.yield(.timelineSwitched(next.timeline, at: next.startLSN))
  }

  /// Makes the slot where it is missing or was invalidated; true where it was expected to exist.
  private func ensureSlot(_ connection: ReplicationConnection, from start: LSN) throws -> Bool {
    let name = configuration.slotName
    guard connection.serverVersion >= 150_000 else {
      // Version 14 cannot read slots on this connection.
      do { try connection.createPhysicalSlot(name) } catch let error as PostgresError
        where error.sqlState == "42710"
      { return false }
      return start > line.startLSN
    }
    let found = try connection.readPhysicalSlot(name)
    if let found, found.restartLSN != nil { return false }
    if found != nil { try connection.dropSlot(name) }
    try connection.createPhysicalSlot(name)
    // The first stream of a line has no slot yet, and nothing to lose: it begins at the line's
    // start.
    return start > line.startLSN
  }

  private func gapError(from start: LSN) throws -> CaptureError {
    var parameters = configuration.connection
    parameters.applicationName = configuration.slotName
    let connection = try ReplicationConnection(try configuration.pin(parameters))
    defer { connection.close() }
    let restart = try connection.readPhysicalSlot(configuration.slotName)?.restartLSN
    let end = try restart ?? connection.identifySystem().flushedLSN
    let gap = start..<max(start, end)
    eventSink.yield(.slotRecreated(gap: gap))
    return CaptureError(
      .gap, "stream WAL", lsn: start, gap: gap, detail: "the server holds WAL from \(end) on")
  }
}

/// What one connection's stream knows of itself.
struct StreamSession {
  var generation: Int
  /// The slot was made anew, and nobody was told yet.
  var slotIsNew: Bool
  var isFirstMessage = true
  var isEnded = false
  var isReplyDue = false
  var reported = LSN.invalid
  var reportedAt = Duration.zero
  var load: StreamLoad
  var isBusy = false

  init(generation: Int, slotIsNew: Bool, now: Duration) {
    self.generation = generation
    self.slotIsNew = slotIsNew
    load = StreamLoad(now: now)
  }
}

extension WALCapture {
  /// Waits for one message or wake-up and deals with it.
  private func step(_ connection: ReplicationConnection, _ session: inout StreamSession) throws {
    if isSpoolFull {
      pause(.milliseconds(100))
    } else {
      try connection.receive(timeout: configuration.statusInterval, wake: wake) { event in
        try handle(event, &session)
      }
    }
    if session.isEnded { return }
    guard state.withLock({ $0.generation }) == session.generation else {
      throw PostgresError(.connectionLost, "go back to the last synced position")
    }
    try sendStatusIfDue(connection, &session)
  }

  private func handle(_ event: ReplicationEvent, _ session: inout StreamSession) throws {
    switch event {
    case .wal(let start, let serverEnd, let bytes):
      noteFirst(&session)
      try receive(bytes, at: start, serverEnd: serverEnd, session.generation)
      noteHeld()
      session.isBusy = session.load.note(now: configuration.clock.uptime())
    case .keepalive(let serverEnd, let isReplyRequested):
      noteFirst(&session)
      state.withLock { state in
        state.serverLSN = max(state.serverLSN, serverEnd)
        if isReplyRequested { state.sealRequested = true }
      }
      noteHeld()
      // A server that shuts down asks until all it has sent is confirmed: seal it now.
      if isReplyRequested { sealSignal.signal() }
      session.isReplyDue = session.isReplyDue || isReplyRequested
    case .idle: break
    case .ended(let next):
      session.isEnded = true
      if let next {
        switchTimeline(next)
      } else {
        let end = state.withLock { $0.level(.received) }
        eventSink.yield(.serverEnded(at: end))
        resumeServerEnd(at: end)
      }
    }
  }

  private func noteFirst(_ session: inout StreamSession) {
    guard session.isFirstMessage else { return }
    session.isFirstMessage = false
    let received = state.withLock { state in
      state.isStreaming = true
      return state.received
    }
    if session.slotIsNew { eventSink.yield(.slotRecreated(gap: nil)) }
    eventSink.yield(.streaming(from: received))
  }

  private func noteHeld() {
    let now = configuration.clock.now()
    state.withLock { state in
      if state.received >= state.serverLSN { state.heldUntil = now }
    }
  }

  /// Takes the bytes that follow what was received.
  func receive(
    _ bytes: UnsafeRawBufferPointer, at start: LSN, serverEnd: LSN, _ generation: Int
  ) throws {
    let expected = state.withLock { $0.received }
    guard start == expected else {
      throw PostgresError(.unexpectedReply, "stream WAL: \(start) came, expected \(expected)")
    }
    if let lsn = known.firstDifference(bytes, at: start) {
      throw CaptureError(
        .differsFromStore, "stream WAL", lsn: lsn,
        detail: "the server's WAL is not the one that the store holds")
    }
    try spool.write(bytes, at: start)
    let now = configuration.clock.uptime()
    let (isUrgent, percent) = state.withLock { state -> (Bool, Int?) in
      guard state.generation == generation else { return (false, nil) }
      state.received = start + UInt64(bytes.count)
      state.serverLSN = max(state.serverLSN, serverEnd, state.received)
      let isFirst = state.firstUnsealed == nil
      if isFirst { state.firstUnsealed = now }
      let isMuch = state.received - state.flushed >= UInt64(configuration.chunkLimit)
      let percent = state.fillingToAnnounce(limit: configuration.spoolLimit)
      return (isFirst || isMuch || state.flushTarget > state.flushed, percent)
    }
    if let percent { eventSink.yield(.spoolFilling(percent: percent)) }
    if isUrgent { sealSignal.signal() }
    resumeSatisfied()
  }

  var isSpoolFull: Bool {
    state.withLock { $0.spooledBytes >= configuration.spoolLimit }
  }

  private func sendStatusIfDue(
    _ connection: ReplicationConnection, _ session: inout StreamSession
  ) throws {
    let reportable = state.withLock { $0.reportable(configuration.durability) }
    let age = configuration.clock.uptime() - session.reportedAt
    guard !session.isFirstMessage else { return }
    guard
      session.isReplyDue || reportable > session.reported || age >= configuration.statusInterval
    else { return }
    try sendStatus(connection, &session)
  }

  private func sendStatus(
    _ connection: ReplicationConnection, _ session: inout StreamSession
  ) throws {
    let (received, flushed) = state.withLock { state in
      (state.level(.received), state.reportable(configuration.durability))
    }
    try connection.send(
      StandbyStatus(written: received, flushed: flushed, applied: flushed),
      clientTime: configuration.clock.now().rawValue,
      // A quiet server says nothing by itself: its answer tells that nothing is missing.
      asksReply: configuration.durability == .following)
    session.isReplyDue = false
    session.reported = flushed
    session.reportedAt = configuration.clock.uptime()
  }

  /// Puts the receiving thread to sleep; ended early by a stop.
  func pause(_ duration: Duration) {
    let nanoseconds = Int(duration / .nanoseconds(1))
    _ = pauseSignal.wait(timeout: .now() + .nanoseconds(nanoseconds))
  }
}
