/// When a request is sent again, and after how long.
///
/// Every request of the store may be sent twice: puts replace with the same bytes, deletes of what
/// is gone are no error, and an upload begun twice leaves parts that are aborted.
public struct S3RetryPolicy: Sendable {
  /// Tries of one request, the first included.
  public var attempts: Int
  /// The longest first pause; each further one may be twice as long.
  public var firstPause: Duration
  public var longestPause: Duration
  /// A try ends when nothing came or went for this long; where something is sent, later by what the machine has
  /// taken of it and the line may not have, at ``slowestRate``.
  public var timeout: Duration
  /// Bytes a second of one request, at which an upload still comes to its end.
  static let slowestRate = 64 << 10
  /// What the machine keeps of an upload, at most: Linux' limit for a socket.
  static let socketBytes = 4 << 20

  public init(
    attempts: Int = 7, firstPause: Duration = .milliseconds(100),
    longestPause: Duration = .seconds(5), timeout: Duration = .seconds(20)
  ) {
    self.attempts = attempts
    self.firstPause = firstPause
    self.longestPause = longestPause
    self.timeout = timeout
  }

  /// The pause before try `attempt` (2 for the second), anywhere between nothing and its bound:
  /// clients that failed together do not come back together.
  /// - Parameter random: 64 random bits.
  func pause(before attempt: Int, random: UInt64) -> Duration {
    let bound = min(longestPause, firstPause * (1 << min(attempt - 2, 16)))
    return bound * (Double(random >> 11) / Double(1 << 53))
  }

  /// How long a try that sends so many bytes may stand still.
  func stall(sending bytes: Int) -> Duration {
    timeout + .seconds(min(bytes, S3RetryPolicy.socketBytes) / S3RetryPolicy.slowestRate)
  }
}

/// Clock and chance of a store.
public struct S3Environment: Sendable {
  /// Seconds since 1970, for signatures.
  public var now: @Sendable () -> Int
  public var sleep: @Sendable (Duration) async throws -> Void
  /// 64 random bits.
  public var random: @Sendable () -> UInt64

  public init(
    now: @escaping @Sendable () -> Int, sleep: @escaping @Sendable (Duration) async throws -> Void,
    random: @escaping @Sendable () -> UInt64
  ) {
    self.now = now
    self.sleep = sleep
    self.random = random
  }

  public static let system = S3Environment(
    now: { systemTime() }, sleep: { try await Task.sleep(for: $0) },
    random: { UInt64.random(in: 0 ... .max) })
}
