/// The settings under which Exzo runs an unmodified server.
///
/// All are given on the command line, never in PGDATA, so that no copy of the directory inherits
/// them
/// (`full_page_writes=off` is sound on a volume only). A user's own settings are applied with
/// `ALTER SYSTEM`-free means: `ALTER DATABASE` and `ALTER ROLE`.
public struct ServerSettings: Codable, Sendable, Equatable {
  public var sharedBuffersMegabytes: Int
  public var maxConnections: Int
  /// `checkpoint_timeout`, seconds.
  public var checkpointTimeout: Int
  /// `max_wal_size`, megabytes.
  public var maxWALSize: Int
  /// Not below what the parent ran with, or prepared transactions could not be brought back.
  public var maxPreparedTransactions: Int
  public var maxLocksPerTransaction: Int
  public var maxWorkerProcesses: Int
  /// At least 10; `nil` is that.
  public var maxWALSenders: Int?
  /// `logical` on request.
  public var logicalReplication: Bool
  /// Commits wait for the object store (`synchronous_standby_names`).
  public var waitsForObjectStore: Bool
  /// Settings the operator adds, by name; they cannot name one that Exzo manages.
  public var extra: [String: String]

  public init(
    sharedBuffersMegabytes: Int = 128, maxConnections: Int = 100, checkpointTimeout: Int = 300,
    maxWALSize: Int = 1024, maxPreparedTransactions: Int = 0, maxLocksPerTransaction: Int = 64,
    maxWorkerProcesses: Int = 8, logicalReplication: Bool = false,
    waitsForObjectStore: Bool = false,
    extra: [String: String] = [:]
  ) {
    self.sharedBuffersMegabytes = sharedBuffersMegabytes
    self.maxConnections = maxConnections
    self.checkpointTimeout = checkpointTimeout
    self.maxWALSize = maxWALSize
    self.maxPreparedTransactions = maxPreparedTransactions
    self.maxLocksPerTransaction = maxLocksPerTransaction
    self.maxWorkerProcesses = maxWorkerProcesses
    self.logicalReplication = logicalReplication
    self.waitsForObjectStore = waitsForObjectStore
    self.extra = extra
  }

  /// The slot and the standby name under which capture streams.
  public static let captureName = "exzo_capture"

  /// Where the server listens, and who may come in.
  private func access(_ directory: LineDirectory) -> [(String, String)] {
    [
      ("listen_addresses", ""),
      ("unix_socket_directories", directory.run),
      ("unix_socket_permissions", "0700"),
      ("port", "5432"),
      ("hba_file", directory.hostBasedAuthentication),
      ("ident_file", directory.identMap),
      ("password_encryption", "scram-sha-256"),
    ]
  }

  private var sizes: [(String, String)] {
    [
      ("shared_buffers", "\(sharedBuffersMegabytes)MB"),
      ("max_connections", "\(maxConnections)"),
      ("max_prepared_transactions", "\(maxPreparedTransactions)"),
      ("max_locks_per_transaction", "\(maxLocksPerTransaction)"),
      ("max_worker_processes", "\(maxWorkerProcesses)"),
      ("checkpoint_timeout", "\(checkpointTimeout)s"),
      ("max_wal_size", "\(maxWALSize)MB"),
    ]
  }

  /// Name and value of every setting, for one start of the server.
  /// - Parameter recovering: the server replays a tail first: reads ahead harder.
  /// - Parameter withoutApplyWorkers: no subscription runs, until the server is started anew.
  func assignments(
    directory: LineDirectory, recovering: Bool, withoutApplyWorkers: Bool
  ) -> [(String, String)] {
    var list = access(directory) + sizes
    list += [
      ("full_page_writes", "off"),
      ("wal_level", logicalReplication ? "logical" : "replica"),
      ("wal_keep_size", "256MB"),
      ("max_slot_wal_keep_size", "-1"),
      ("max_wal_senders", "\(maxWALSenders ?? 10)"),
      ("max_replication_slots", "10"),
      ("archive_mode", "off"),
      ("recovery_init_sync_method", "syncfs"),
      ("log_destination", "stderr"),
      ("logging_collector", "off"),
      ("log_checkpoints", "on"),
      ("log_line_prefix", "%m [%p] "),
      ("log_timezone", "UTC"),
      ("lc_messages", "C"),
      ("shared_preload_libraries", ""),
      ("cluster_name", ""),
    ]
    if waitsForObjectStore {
      list.append(("synchronous_standby_names", "FIRST 1 (\(ServerSettings.captureName))"))
    }
    if recovering {
      list += [
        ("maintenance_io_concurrency", "1000"), ("wal_decode_buffer_size", "8MB"),
      ]
    }
    if withoutApplyWorkers { list.append(("max_logical_replication_workers", "0")) }
    let managed = Set(list.map(\.0))
    list += extra.filter { !managed.contains($0.key) }.sorted { $0.key < $1.key }
    return list.map { ($0.0, $0.1) }
  }
}
