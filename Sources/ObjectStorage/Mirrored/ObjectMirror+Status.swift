extension ObjectMirror {
  /// How the copy stands.
  public struct Status: Sendable, Codable, Equatable {
    /// The second store holds everything that the first held at this time (seconds since 1970).
    public var completeAsOf: Double?
    public var lastPassEndedAt: Double?
    public var objects = 0
    public var bytes: UInt64 = 0
    /// Not copied at the end of the last pass.
    public var missingObjects = 0
    public var missingBytes: UInt64 = 0
    /// Some of them, in order.
    public var missing: [String] = []
    /// Gone from the first store, still in the second.
    public var awaitingDeletion = 0
    public var copiedObjects = 0
    public var copiedBytes: UInt64 = 0
    public var failure: String?
    /// The most bytes that both stores held of late at the end of a pass that found no loss.
    public var heldBytes: UInt64?
    /// When they held them last, in seconds since 1970; `nil` where an earlier version wrote the status.
    public var heldAt: Double?
    /// Since when (seconds since 1970) nothing is deleted, because the first store has less than a quarter of
    /// what both held; `nil` where that is not so.
    public var lossFoundAt: Double?

    public init() {}

    /// Seconds that the copy is behind; `nil` where it was never complete.
    public func lag(now: Double) -> Double? { completeAsOf.map { max(0, now - $0) } }
  }
}
