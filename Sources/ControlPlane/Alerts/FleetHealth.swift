/// How machine, computes and stores stand, for whoever watches over them.
public struct FleetHealth: Sendable {
  public struct Compute: Sendable {
    public var lineID: String
    public var projectID: String
    /// Age of the oldest WAL that is not in the object store.
    public var exposureSeconds: Double
    /// WAL on the compute's disk: slots keep it from being removed.
    public var walBytes: UInt64
    /// What its agent complains of.
    public var alarms: [String]

    public init(
      lineID: String, projectID: String, exposureSeconds: Double, walBytes: UInt64, alarms: [String]
    ) {
      self.lineID = lineID
      self.projectID = projectID
      self.exposureSeconds = exposureSeconds
      self.walBytes = walBytes
      self.alarms = alarms
    }
  }

  /// The second object store.
  public struct Mirror: Sendable {
    /// Seconds that it is behind; `nil` where it was never complete.
    public var lag: Double?
    public var missingObjects: Int
    public var failure: String?

    public init(lag: Double?, missingObjects: Int, failure: String?) {
      self.lag = lag
      self.missingObjects = missingObjects
      self.failure = failure
    }
  }

  public var computes: [Compute] = []
  /// On the data directory's file system; `nil` where nobody can tell.
  public var freeBytes: UInt64?
  /// `nil` where there is no second store.
  public var mirror: Mirror?

  public init() {}
}

/// From where on something is an alert, and who is told.
public struct AlertSettings: Sendable {
  /// Age of WAL that is not in the object store; seconds.
  public var captureLag: Double
  /// Of the data directory's file system.
  public var freeBytes: UInt64
  /// WAL on a compute's disk.
  public var walBytes: UInt64
  /// Seconds that the second store may be behind, or that copying to it may fail.
  public var mirrorLag: Double
  /// How long the object store may not take the catalog's changes; seconds.
  public var storeSilence: Double
  /// How long a server elsewhere may not be reached; seconds.
  public var sourceAway: Double = 300
  public var channels: [any AlertChannel]

  public init(
    captureLag: Double = 30, freeBytes: UInt64 = 5 << 30, walBytes: UInt64 = 4 << 30,
    mirrorLag: Double = 600, storeSilence: Double = 15, channels: [any AlertChannel] = []
  ) {
    self.captureLag = captureLag
    self.freeBytes = freeBytes
    self.walBytes = walBytes
    self.mirrorLag = mirrorLag
    self.storeSilence = storeSilence
    self.channels = channels
  }
}
