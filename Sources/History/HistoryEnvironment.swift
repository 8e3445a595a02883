import DurableIO
import Glibc
import ObjectStorage
import PostgresFormat

/// What history takes from outside: storage, threads, clocks and randomness.
public struct HistoryEnvironment: Sendable {
  public var store: any ObjectStore
  public var fileSystem: any FileSystem
  /// For compression and local files.
  public var threads: BlockingThreads
  /// A local directory of this writer's own, where layers are built.
  public var spoolDirectory: String
  public var now: @Sendable () -> PostgresTimestamp
  /// Time that only goes forward, for deadlines.
  public var uptime: @Sendable () -> Duration
  /// 64 random bits.
  public var random: @Sendable () -> UInt64

  public init(
    store: any ObjectStore, fileSystem: any FileSystem, threads: BlockingThreads,
    spoolDirectory: String,
    now: @escaping @Sendable () -> PostgresTimestamp = HistoryEnvironment.systemTime,
    uptime: @escaping @Sendable () -> Duration = HistoryEnvironment.systemUptime,
    random: @escaping @Sendable () -> UInt64 = { UInt64.random(in: 0 ... .max) }
  ) {
    self.store = store
    self.fileSystem = fileSystem
    self.threads = threads
    self.spoolDirectory = spoolDirectory
    self.now = now
    self.uptime = uptime
    self.random = random
  }

  var layerStorage: LayerStorage { LayerStorage(store: store, fileSystem: fileSystem) }

  /// The machine's clock.
  public static let systemTime: @Sendable () -> PostgresTimestamp = {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let microseconds = Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    return PostgresTimestamp(
      microseconds - PostgresTimestamp.unixEpochOffsetSeconds * 1_000_000)
  }

  /// The machine's monotonic clock.
  public static let systemUptime: @Sendable () -> Duration = {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }
}
