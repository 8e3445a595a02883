import Capture
import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PostgresFormat
import Synchronization
import Volume
import VolumeMount

/// One running compute, from its directory to its end.
///
/// ## Purpose
/// Brings a line's volume up (opened from a moment, or resumed), mounts it, runs the server on it,
/// captures its
/// WAL, takes its keyframes, and stops in the order that loses nothing.
///
/// ## State and invariants
/// 1. `running` is said only after the server stands where the moment says, volume and `pg_wal` are
///   durable,
///    and capture streams.
/// 2. The server is started only when no process works in the mount point.
/// 3. At a stop: server out, WAL drained, shutdown keyframe, unmount, close; the agent ends.
///
/// ## On disk
/// ``LineDirectory``. The `opened` marker is written when an opening is proven; without it a
/// restart begins
/// the opening anew in an emptied directory.
///
/// ## Crash
/// The server dies with us. ``AgentFleet`` clears what is left and starts a new agent, which
/// resumes the volume.
///
/// ## Concurrency
/// An actor; blocking work runs on threads of its own.
public actor Agent {
  let specification: AgentSpecification
  let directory: LineDirectory
  let log: Logger
  var status: AgentStatus
  var steps = StepClock()
  var prepared: PreparedCompute?
  /// In place of `prepared` where the moment is only read.
  var reading: PreparedReading?
  var mount: MountSession?
  /// The server that was ended because a write of its was lost.
  var serverToldOfLoss: pid_t = 0
  var postmaster: Postmaster?
  var capture: WALCapture?
  var keyframes: KeyframeService?
  var server: ServerSession?
  /// In place of a server where the line follows one that lives elsewhere.
  var following: Following?
  /// Keyframes and checkpoints, while the compute runs.
  var background: [Task<Void, Never>] = []
  private var waiters: [CheckedContinuation<Void, Never>] = []
  private let ended: AsyncStream<Void>.Continuation
  private let end: AsyncStream<Void>
  /// Ends of servers, seen from the threads that reap them.
  let serverEnds: AsyncStream<Int32>
  let serverEndsBell: AsyncStream<Int32>.Continuation

  /// Reads the specification from the line's directory.
  public init(directory path: String, log: Logger) throws {
    directory = LineDirectory(path)
    self.log = log
    let bytes = try Data(contentsOf: URL(fileURLWithPath: directory.specification))
    specification = try JSONDecoder().decode(AgentSpecification.self, from: bytes)
    status = AgentStatus(phase: .opening, agentPID: getpid())
    (end, ended) = AsyncStream.makeStream()
    (serverEnds, serverEndsBell) = AsyncStream.makeStream()
  }

  /// Runs the compute until it is suspended or cannot be kept up. Returns when everything is down.
  public func run() async throws {
    let lock = try AgentLock.take(directory)
    defer { withExtendedLifetime(lock) {} }
    let listener = try ControlListener(path: directory.controlSocket)
    let socket = AgentSocket(agent: self)
    Thread.detachNewThread { listener.run { socket.serve($0) } }
    do {
      if let source = specification.source {
        try await startFollowing(source)
      } else {
        try await startFirst()
      }
      status.phase = .running
      log.info("running", metadata: ["steps": "\(steps.summary)"])
    } catch {
      log.error("start failed", metadata: ["error": "\(error)"])
      fail(error)
    }
    status.steps = steps.steps
    wakeWaiters()
    if status.phase == .running, following == nil { superviseServer() }
    for await _ in end {}
    listener.close()
  }

  /// Starts the server before others on this machine go on.
  private func startFirst() async throws {
    let priority = OpeningPriority()
    do {
      try await specification.isReading ? startReading() : start()
    } catch {
      priority.lower()
      throw error
    }
    try await blocking { priority.lower() }
  }

  /// Returns once the phase is no longer `opening`.
  func waitUntilDecided() async {
    guard status.phase == .opening else { return }
    await withCheckedContinuation { waiters.append($0) }
  }

  private func wakeWaiters() {
    for waiter in waiters { waiter.resume() }
    waiters = []
  }

  /// Ends ``run()``.
  func finish() { ended.finish() }

  func fail(_ error: any Error) {
    status.phase = .failed
    prepared?.warmed?.cool()
    reading?.warmed?.cool()
    status.messages = ["\(error)"]
    failure = error as? ComputeError ?? ComputeError(.recovery, "\(error)")
  }

  /// Why the phase is `failed`.
  private(set) var failure: ComputeError?

  /// Status as of now.
  func currentStatus() async -> AgentStatus {
    var status = status
    if let capture {
      let positions = capture.positions
      status.receivedLSN = positions.receivedLSN
      status.flushedLSN = positions.flushedLSN
      status.uploadedLSN = positions.uploadedLSN
      status.exposureSeconds = positions.lag.seconds
      if let failure = positions.failure { status.messages.append(failure) }
    }
    if let keyframes {
      status.keyframes = await keyframes.count
      status.historyBytes = await keyframes.historyBytes
      if let alarm = await keyframes.alarm { status.messages.append("keyframe: \(alarm)") }
    }
    if let alarm = prepared?.lazy?.notMade.withLock({ $0.alarm }) {
      status.messages.append(alarm)
    }
    status.serverPID = postmaster?.pid ?? 0
    if let following {
      status.source = sourceStatus(following)
      status.keyframes = await following.standby.keyframes
      if let alarm = await following.standby.alarm { status.messages.append(alarm) }
    }
    if let role = reading?.bootstrapRole { status.superuser = role }
    return status
  }
}

extension Duration {
  var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}

/// Times the steps of a start.
struct StepClock {
  private(set) var steps: [AgentStatus.Step] = []
  private var last = ContinuousClock.now

  mutating func mark(_ name: String) {
    let now = ContinuousClock.now
    steps.append(.init(name: name, milliseconds: (now - last).seconds * 1000))
    last = now
  }

  var summary: String {
    steps.map { "\($0.name) \(Int($0.milliseconds.rounded())) ms" }.joined(separator: ", ")
  }
}
