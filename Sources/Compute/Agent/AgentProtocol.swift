import PostgresFormat

/// What serve asks of an agent: one JSON object on a line; the answer likewise. A connection
/// carries one
/// request at a time.
public enum AgentRequest: Codable, Sendable, Equatable {
  /// How it stands, at once.
  case status
  /// Waits until the compute accepts connections, or its opening has failed.
  case waitUntilRunning
  /// An LSN at or above every commit acknowledged before the request, once it is in the object
  /// store.
  case head
  /// Waits until everything below the LSN is in the object store.
  case flush(to: LSN)
  /// Takes a keyframe now and waits until it is stored.
  case keyframe
  /// Stops the server cleanly, stores what remains, unmounts; the agent ends after the answer.
  case suspend
}

public enum AgentResponse: Codable, Sendable, Equatable {
  case status(AgentStatus)
  case position(LSN)
  case done
  case failed(code: String, message: String, hint: String)
}

/// How a compute stands.
public struct AgentStatus: Codable, Sendable, Equatable {
  public enum Phase: String, Codable, Sendable { case opening, running, stopping, failed }
  public var phase: Phase
  public var agentPID: Int32
  public var serverPID: Int32
  /// Milliseconds that each step of the start took, in order.
  public var steps: [Step]
  public var startLSN: LSN?
  /// How the agent opened a moment; `nil` where it resumed a volume.
  public var opening: OpeningWay?
  /// Why a moment was opened by replay: `short_tail`, `asked_for`, or what stood against pages being
  /// made when they are read.
  public var replayReason: String?
  public var receivedLSN: LSN
  public var flushedLSN: LSN
  public var uploadedLSN: LSN
  /// Age of the oldest WAL that is not in the object store, seconds.
  public var exposureSeconds: Double
  public var keyframes: UInt64
  public var historyBytes: UInt64
  /// Why the phase is `failed`, or alarms that stand.
  public var messages: [String]
  /// How far it is with following a server that lives elsewhere.
  public var source: SourceStatus?
  /// The role that administers a compute that reads a moment, where it has not the platform's name.
  public var superuser: String?

  public struct Step: Codable, Sendable, Equatable {
    public var name: String
    public var milliseconds: Double
    public init(name: String, milliseconds: Double) {
      self.name = name
      self.milliseconds = milliseconds
    }
  }

  public init(phase: Phase, agentPID: Int32) {
    self.phase = phase
    self.agentPID = agentPID
    serverPID = 0
    steps = []
    startLSN = nil
    receivedLSN = .invalid
    flushedLSN = .invalid
    uploadedLSN = .invalid
    exposureSeconds = 0
    keyframes = 0
    historyBytes = 0
    messages = []
  }
}
