import PostgresFormat

/// Everything an agent needs to know; kept as `compute.json` in the line's directory.
public struct AgentSpecification: Codable, Sendable, Equatable {
  public var computeID: String
  public var projectID: String
  public var line: String
  public var major: Int
  public var binaries: String
  /// The exact version of these binaries, such as `15.20`: history records it.
  public var serverVersion: String
  public var identity: ProcessIdentity
  /// URL of the object store: see ``openObjectStore(_:fileSystem:project:environment:)``.
  public var objectStore: String
  public var origin: Origin
  public var settings: ServerSettings
  /// Today's roles: installed when a moment is opened, so that old credentials stay dead.
  public var roles: [RoleCredential]?
  /// Replay time that the spacing of keyframes must guarantee, seconds.
  public var restoreObjective: Double
  /// The moment is only read: no line is made of it, and the server cannot write.
  public var readsOnly: Bool?
  /// The socket's directory of the server whose WAL a reading server takes in from the moment on; `nil`
  /// where it stays at the moment.
  public var follows: String?
  /// What limits the server; `nil`: nothing does.
  public var controlGroup: ControlGroup?
  /// How a moment is opened; `nil` leaves it to the agent.
  public var opening: OpeningWay?
  /// Which keyframes get a complete layer; `nil` leaves it to ``KeyframePolicy``. For tests.
  public var completeLayers: CompleteLayers?
  /// Whether the kernel may keep the server's page writes until `fsync`; `nil` leaves it to
  /// ``cachesWritesByDefault``. Needs data checksums all the same.
  public var cachesWrites: Bool?
  /// The default of every compute: the one place to change it. Serve's `EXZO_WRITE_BACK` goes before it. Kernels before
  /// 6.16 hand pages over in another way, which was never tried.
  public static let cachesWritesByDefault =
    KernelVersion.running.map { $0 >= KernelVersion(6, 16) } ?? false
  /// Where a volume that leaves its base stands still for ever. For tests, which kill it there.
  public var pausesLeavingBase: BaseStep?

  public enum CompleteLayers: String, Codable, Sendable { case always, never }
  /// A manifest names both bases; the volume reads the new one; a manifest names the new one only.
  public enum BaseStep: String, Codable, Sendable, CaseIterable { case announced, moved, confirmed }

  var isReading: Bool { readsOnly == true }
  /// Transactions that have not ended at the moment never will.
  var staysAtMoment: Bool { isReading && follows == nil }
  /// What is followed, where the line follows a server that lives elsewhere.
  public var source: SourceSpecification? {
    if case .source(let source) = origin { source } else { nil }
  }

  /// Where the data comes from.
  public enum Origin: Codable, Sendable, Equatable {
    /// The volume in the line's directory.
    case existing
    /// A moment of another line; the line begins there.
    case branch(parent: String, lsn: LSN)
    /// A server that lives elsewhere: its WAL is followed, and no server of ours runs.
    case source(SourceSpecification)
  }

  public init(
    computeID: String, projectID: String, line: String, major: Int, binaries: String,
    serverVersion: String, identity: ProcessIdentity, objectStore: String, origin: Origin,
    settings: ServerSettings,
    roles: [RoleCredential]?, restoreObjective: Double
  ) {
    self.computeID = computeID
    self.projectID = projectID
    self.line = line
    self.major = major
    self.binaries = binaries
    self.serverVersion = serverVersion
    self.identity = identity
    self.objectStore = objectStore
    self.origin = origin
    self.settings = settings
    self.roles = roles
    self.restoreObjective = restoreObjective
  }
}

/// How a moment comes to be what a server starts on.
public enum OpeningWay: String, Codable, Sendable, Hashable {
  /// Pages are made when they are read. Asked for, an opening that needs replay fails.
  case lazy
  /// The server replays the tail.
  case replay
}

/// A login of a tenant as it is to be on a compute.
public struct RoleCredential: Codable, Sendable, Equatable {
  public var name: String
  /// `SCRAM-SHA-256$…`, or `nil` for a role that cannot log in with a password.
  public var scramVerifier: String?

  public init(name: String, scramVerifier: String?) {
    self.name = name
    self.scramVerifier = scramVerifier
  }
}
