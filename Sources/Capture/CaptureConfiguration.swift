import DurableIO
import History
import ObjectStorage
import PostgresClient
import PostgresFormat

/// When capture tells the server that WAL is safe.
public enum CaptureDurability: String, Sendable, Codable {
  /// Once it is synced in the spool: commits never wait for the store.
  case local
  /// Once it is in the object store: where the server names capture in `synchronous_standby_names`,
  /// commits wait for that.
  case objectStore
  /// Once it is in the object store, in batches: the server is another's, and nobody there waits for us. What
  /// the store has not got it still has, also after this machine is lost.
  case following

  /// Chunks on their way to the store at a time. Where commits wait for it they wait for less than two chunks
  /// then; more requests, and smaller chunks, are the price.
  var uploadsAtOnce: Int { self == .objectStore ? 4 : 1 }
}

/// What one ``WALCapture`` captures, from where to where, and its bounds.
public struct CaptureConfiguration: Sendable {
  /// How to reach the compute; the application name is overridden by ``slotName``.
  public var connection: ConnectionParameters
  /// The physical slot, also the name that `synchronous_standby_names` knows.
  public var slotName = "exzo_capture"
  public var line: LineWriter
  /// The store of `line`, for comparing what the server sends again with what is there.
  public var store: any ObjectStore
  /// A local directory of this line's own; created where it is missing.
  public var spoolDirectory: String
  public var fileSystem: any FileSystem
  public var major: PostgresMajor
  public var durability: CaptureDurability
  /// The server's `pg_wal`, where it is on this machine: a busy server's WAL is then read from there, in `local`
  /// durability.
  public var walDirectory: String?
  /// How `walDirectory` is read.
  public var walFileSystem: any FileSystem = SystemFileSystem()
  /// Once this many bytes wait for the store nothing more is received, until uploads make room. The
  /// spool's files take up to two segments more.
  public var spoolLimit: UInt64 = 8 << 30
  /// How long received WAL waits for more before it is synced and uploaded.
  public var batchInterval: Duration = .milliseconds(250)
  /// WAL bytes of a chunk at most, 1 KiB or more. One is in memory while it is filled, and those on their way
  /// to the store: see ``CaptureDurability/uploadsAtOnce``.
  public var chunkLimit = 4 << 20
  /// Bounds of the pause before the next attempt at a store or server that did not answer.
  public var retryPause: ClosedRange<Duration> = .milliseconds(50) ... .seconds(5)
  /// How often the server hears of capture when there is nothing new; well below
  /// `wal_sender_timeout`.
  public var statusInterval: Duration = .seconds(5)
  public var clock = CaptureClock()
  /// Looks the server's address up before each connection, and refuses one that is closed.
  public var pin: @Sendable (ConnectionParameters) throws -> ConnectionParameters = { $0 }
  /// Refuses, by throwing, a server whose WAL the line must not take; asked on each stream's own connection.
  public var accept: @Sendable (SystemIdentification) throws -> Void = { _ in }

  public init(
    connection: ConnectionParameters, line: LineWriter, store: any ObjectStore,
    spoolDirectory: String, fileSystem: any FileSystem = SystemFileSystem(),
    major: PostgresMajor,
    durability: CaptureDurability = .local
  ) {
    self.connection = connection
    self.line = line
    self.store = store
    self.spoolDirectory = spoolDirectory
    self.fileSystem = fileSystem
    self.major = major
    self.durability = durability
  }
}

/// Time and randomness as capture takes them from outside.
public struct CaptureClock: Sendable {
  public var now: @Sendable () -> PostgresTimestamp = HistoryEnvironment.systemTime
  /// Time that only goes forward.
  public var uptime: @Sendable () -> Duration = HistoryEnvironment.systemUptime
  public var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
  /// 64 random bits.
  public var random: @Sendable () -> UInt64 = { UInt64.random(in: 0 ... .max) }

  public init() {}

  /// The pause before attempt `attempt` (1 is the first repeat): doubled each time within
  /// `bounds`, then somewhere in its upper half, so that many who wait do not come at once.
  func pause(attempt: Int, _ bounds: ClosedRange<Duration>) -> Duration {
    let doubled = bounds.lowerBound * (1 << min(max(attempt - 1, 0), 16))
    let base = min(doubled, bounds.upperBound)
    let fraction = Double(random() >> 11) / Double(1 << 53)
    return base * (0.5 + fraction / 2)
  }
}
