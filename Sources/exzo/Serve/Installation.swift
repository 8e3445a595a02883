import Catalog
import CommandLineTool
import Compute
import Console
import ControlPlane
import Dumps
import DurableIO
import Foundation
import History
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOSSL
import PostgresProxy
import RESTAPI
import ServiceLifecycle

/// One installation: its parts put together in the order in which they depend on each other.
///
/// Start: lock → store and the hold on it → metadata server → catalog → template → fleet → control plane →
/// journal → API and proxy. Stop in reverse; computes and the metadata of running ones outlive it. A
/// recovery comes between: nothing is served before it is finished.
struct Installation {
  let options: ServeOptions
  static let postgresMajor = 15

  func run() async throws {
    let log = Logger(label: "serve")
    let data = try DataDirectory(path: options.dataDirectory)
    try StartChecks(options: options).run(major: Self.postgresMajor)
    let metadata = try makeMetadataServer(data, log)
    let begun = try StoreHold.begin(options)
    let hold = StoreHold(
      options: options,
      storage: try await StoreSetup(
        options: options, environment: ProcessInfo.processInfo.environment,
        recovering: begun != nil, log: log), log: log)
    do {
      if let begun { try await hold.rehearse(begun, metadata) }
      let claim = try await hold.claim(recovering: begun != nil)
      if let begun { try await hold.fill(begun, metadata) } else { try await metadata.start() }
      try await serve(metadata, data, Held(hold: hold, claim: claim, recovery: begun), log)
    } catch {
      // A start that failed leaves nothing running; its own reason is the one to report.
      do { try await metadata.stop() } catch {
        log.error("metadata server not stopped", metadata: ["error": "\(error)"])
      }
      throw error
    }
    withExtendedLifetime(data) {}
  }

  private func makeMetadataServer(
    _ data: DataDirectory, _ log: Logger
  ) throws -> any MetadataServer {
    if let url = options.metadataURL { return try ExternalMetadataServer(url: url, logger: log) }
    return try EmbeddedMetadataServer(directory: data.path, logger: log)
  }

  /// The object store, held.
  private struct Held {
    var hold: StoreHold
    var claim: InstallationClaim
    var recovery: StoreHold.Progress?
  }

  /// Brings computes and lines of a catalog that was just recovered to this machine.
  private func finishRecovery(_ plane: ControlPlane, _ held: Held, _ log: Logger) async throws {
    let path = "\(options.dataDirectory)/api-key"
    let report = try await plane.recovery().run(
      continuesDespiteDamage: options.recoversDespiteDamage
    ) { try PrivateFile.write(Array(($0 + "\n").utf8), to: path) }
    if let report {
      for damage in report.damages { log.error("not recovered", metadata: ["what": "\(damage)"]) }
      printError(
        """
        Recovered: \(report.accounts) accounts, \(report.projects) projects, \(report.branches) branches, \
        \(report.snapshots) snapshots; \(report.endedOperations) operations were cut off; \
        \(report.damages.count) branches are damaged
        """)
    }
    if let recovery = held.recovery { try held.hold.finish(recovery) }
  }

  /// Serves until it is told to stop.
  private func serve(
    _ metadata: any MetadataServer, _ data: DataDirectory, _ held: Held, _ log: Logger
  ) async throws {
    let catalog = try await Catalog.open(metadata.connectionParameters)
    let storage = held.hold.storage
    let (adapter, binaries) = try await makeFleet(storage, log)
    Poolers.endLeftovers(dataDirectory: data.path)
    adapter.fleet.finishRemovals()
    // Not there as a rule.
    try? FileManager.default.removeItem(atPath: checkedDirectory)
    let poolers = Poolers.program().map {
      Poolers(dataDirectory: data.path, program: $0, identities: adapter.identities, log: log)
    }
    var random = SystemRandomNumberGenerator()
    let sealer = try SecretSealer.load(from: "\(data.path)/secret-key", random: &random)
    let journal = try await CatalogJournal(
      catalog: catalog, store: storage.catalogStore, ownership: held.hold.ownership,
      claim: held.claim, secretKey: try held.hold.secretKey(), logger: log)
    let dumps = try makeDumpTools(storage, adapter, binaries)
    let plane = ControlPlane(
      catalog: catalog, fleet: adapter, schemaTools: schemaTools(dumps, binaries),
      dumpTools: dumps, sealer: sealer, settings: settings(hasPooler: poolers != nil),
      clock: options.clock, journal: journal, logger: log)
    try await prepare(plane, data, held, log)
    try await journal.publishAll()
    let proxy = try await startProxy(plane, poolers, log)
    let api = try makeAPI(plane, log)
    try await runServices(
      [
        .init(service: Supervision(metadata: metadata)),
        .init(service: JournalService(journal: journal, fleet: adapter.fleet, log: log)),
        .init(service: Schedulers(plane: plane, log: log)),
        .init(service: PoolerService(poolers: poolers, fleet: adapter)),
        .init(
          service: MirrorService(
            mirror: storage.mirror, dataDirectory: options.dataDirectory, log: log)),
        .init(service: UploadCleaningService(buckets: storage.buckets, log: log)),
        .init(service: collector(plane, adapter, journal, log)),
        .init(service: ProxyService(proxy: proxy)),
        .init(service: api),
      ], log)
    await catalog.close()
    try await metadata.stop()
  }

  /// What is done before anything is answered.
  private func prepare(
    _ plane: ControlPlane, _ data: DataDirectory, _ held: Held, _ log: Logger
  ) async throws {
    try await finishRecovery(plane, held, log)
    try await plane.releaseRequests()
    if let key = try await plane.accounts.bootstrap() {
      try PrivateFile.write(Array((key + "\n").utf8), to: "\(data.path)/api-key")
    }
  }

  private func schemaTools(_ dumps: PostgresDumpTools, _ binaries: String) -> PostgresSchemaTools {
    PostgresSchemaTools(binaries: binaries, dumps: dumps)
  }

  private func settings(hasPooler: Bool) -> InstallationSettings {
    var settings = InstallationSettings(
      domain: options.domain, postgresHost: options.postgres.host,
      postgresPort: options.postgres.port, majors: [Self.postgresMajor],
      requestsPerMinute: options.requestsPerMinute, hasPooler: hasPooler,
      proofs: options.proofs, alerts: options.alerts)
    let directory = options.dataDirectory
    settings.machineReport = { await Doctor.report(dataDirectory: directory) }
    return settings
  }

  private func runServices(
    _ services: [ServiceGroupConfiguration.ServiceConfiguration], _ log: Logger
  ) async throws {
    let group = ServiceGroup(
      configuration: .init(
        services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: log))
    try await group.run()
  }

  /// The fleet, and the directory of PostgreSQL's programs.
  private func collector(
    _ plane: ControlPlane, _ fleet: FleetAdapter, _ journal: CatalogJournal, _ log: Logger
  ) -> CollectorService {
    CollectorService(
      plane: plane,
      environment: options.collectsHistory
        ? fleet.historyEnvironment(spool: options.dataDirectory) : nil,
      dataDirectory: options.dataDirectory, isFenced: { journal.isFenced }, log: log)
  }

  private func makeFleet(
    _ storage: StoreSetup, _ log: Logger
  ) async throws -> (FleetAdapter, String) {
    let environment = ProcessInfo.processInfo.environment
    let installation: PostgresInstallation
    do {
      installation = try PostgresInstallation.find(
        major: Self.postgresMajor, environment: environment)
    } catch let error as ComputeError {
      throw ServeError(error.message, hint: error.hint)
    }
    let files = SystemFileSystem()
    let store = storage.store
    let directory = options.dataDirectory
    let template = try await TemplateBuilder(
      dataDirectory: directory, installation: installation,
      environment: HistoryEnvironment(
        store: store, fileSystem: files, threads: BlockingThreads(count: 2),
        spoolDirectory: directory), log: log
    ).template()
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let fleet = AgentFleet(
      configuration: .init(
        dataDirectory: directory, agentProgram: program,
        environment: environment.filter {
          ["PATH", "EXZO_EXTENSION_DIR", "EXZO_REDO_DIRECTORY"].contains($0.key)
            || $0.key.hasPrefix("AWS_")
        }),
      log: log)
    let adapter = FleetAdapter(
      fleet: fleet, store: store, objectStoreURL: storage.url,
      installation: installation, template: template,
      identities: try IdentityRegistry(dataDirectory: directory), clock: options.clock,
      mirror: storage.mirror, checkedStore: checkedStore(storage),
      controlGroups: makeControlGroups(log),
      networks: options.attachNetworks, completeLayers: try completeLayers(),
      cachesWrites: try cachesWrites())
    return (adapter, installation.binaries)
  }

  /// For measurements: `always` or `never` instead of what `KeyframePolicy` decides.
  private func completeLayers() throws -> AgentSpecification.CompleteLayers? {
    let environment = ProcessInfo.processInfo.environment
    guard let word = environment["EXZO_COMPLETE_LAYERS"] else { return nil }
    guard let layers = AgentSpecification.CompleteLayers(rawValue: word) else {
      throw ServeError("EXZO_COMPLETE_LAYERS: '\(word)' is neither 'always' nor 'never'")
    }
    return layers
  }

  /// The way out where a kernel's write-back cache does not do what the volume relies on.
  private func cachesWrites() throws -> Bool? {
    guard let word = ProcessInfo.processInfo.environment["EXZO_WRITE_BACK"] else { return nil }
    guard word == "on" || word == "off" else {
      throw ServeError("EXZO_WRITE_BACK: '\(word)' is neither 'on' nor 'off'")
    }
    return word == "on"
  }

  /// `nil` where limits are off, or the machine lets nobody set any: computes run all the same.
  private func makeControlGroups(_ log: Logger) -> ControlGroups? {
    guard options.computeLimits != .off else { return nil }
    do {
      let groups = try ControlGroups.prepare(
        dataDirectory: options.dataDirectory, limitsProcessors: options.computeLimits == .all)
      groups.clear()
      log.info("computes are limited to their size", metadata: ["groups": "\(groups.summary)"])
      return groups
    } catch {
      log.warning("computes are not limited to their size", metadata: ["error": "\(error)"])
      return nil
    }
  }

  private var checkedDirectory: String { "\(options.dataDirectory)/verifying" }

  private func checkedStore(_ storage: StoreSetup) -> CheckedStore {
    CheckedStore(directory: checkedDirectory, open: { try storage.first($0) })
  }

  private func makeDumpTools(
    _ storage: StoreSetup, _ fleet: FleetAdapter, _ binaries: String
  ) throws -> PostgresDumpTools {
    let (url, identities) = (storage.url, fleet.identities)
    return try PostgresDumpTools(
      binaries: binaries, scratch: "\(options.dataDirectory)/dumps", log: Logger(label: "dumps"),
      store: { try openObjectStore(url, fileSystem: SystemFileSystem(), project: $0) },
      checked: checkedStore(storage),
      identity: { project in
        guard getuid() == 0 else { return nil }
        let identity = try identities.identity(project: project)
        return (identity.uid, identity.gid)
      })
  }

  private func startProxy(
    _ plane: ControlPlane, _ poolers: Poolers?, _ log: Logger
  ) async throws -> PostgresProxy {
    let state = "\(options.dataDirectory)/proxy"
    try FileManager.default.createDirectory(
      atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    var configuration = ProxyConfiguration(
      host: options.postgres.host, port: options.postgres.port, stateDirectory: state)
    configuration.domain = options.domain
    configuration.callerSecret = plane.settings.callerSecret
    configuration.allowsPlainBeyondLoopback = options.allowPlainBeyondLoopback
    if let certificate = options.tlsCertificate, let key = options.tlsKey {
      configuration.certificateFiles = .init(certificate: certificate, key: key)
    }
    do {
      return try await PostgresProxy.start(
        configuration: configuration,
        directory: DirectoryAdapter(
          directory: plane.directory, past: plane.past, poolers: poolers),
        logger: log)
    } catch let error as ProxyStartError {
      throw ServeError(error.message, hint: error.hint ?? "")
    }
  }

  private func makeAPI(_ plane: ControlPlane, _ log: Logger) throws -> RESTServer {
    var server = HTTPServerBuilder.http1()
    if let certificate = options.tlsCertificate, let key = options.tlsKey {
      let chain = try NIOSSLCertificate.fromPEMFile(certificate).map {
        NIOSSLCertificateSource.certificate($0)
      }
      let configuration = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain,
        privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
      server = try .tls(tlsConfiguration: configuration)
    }
    let options = options
    return try RESTServer(
      plane: plane, host: options.http.host, port: options.http.port, server: server, logger: log
    ) { port in
      tell(port, log)
    } pages: { api in
      try Console(plane: plane, api: api, settings: options.consoleSettings, logger: log)
    }
  }
}

extension Installation {
  /// Tells commands on this machine, and whoever started serve, where it listens.
  private func tell(_ port: Int, _ log: Logger) {
    let scheme = options.tlsCertificate == nil ? "http" : "https"
    let url = "\(scheme)://\(SocketAddressOption(host: options.http.host, port: port))"
    do {
      try ServerPointer(
        url: url, dataDirectory: options.dataDirectory,
        certificateFile: options.tlsCertificate.map {
          URL(fileURLWithPath: $0).standardizedFileURL.path
        }
      ).write(
        to: ServerPointer.directories(home: ProcessInfo.processInfo.environment["HOME"])[0])
    } catch {
      // Commands can still be told by EXZO_API_HOST.
      log.warning("commands will not find this server", metadata: ["error": "\(error)"])
    }
    printError(
      """
      exzo serves \(options.dataDirectory)
        Console   \(url)/
        API       \(url)/api/v2
        Postgres  \(options.postgres)
        API key   \(options.dataDirectory)/api-key
      Next: exzo projects create --name first
      """)
  }
}

/// Keeps the metadata server up.
private struct Supervision: Service {
  let metadata: any MetadataServer
  func run() async {
    await cancelWhenGracefulShutdown { await metadata.supervise() }
  }
}

/// Drains the proxy at shutdown.
private struct ProxyService: Service {
  let proxy: PostgresProxy
  func run() async throws {
    try? await gracefulShutdown()  // cancelled means the same: drain and end
    try await proxy.shutdown(grace: .seconds(5))
  }
}

/// Ends poolers with their computes, and all of them at shutdown.
private struct PoolerService: Service {
  let poolers: Poolers?
  let fleet: FleetAdapter

  func run() async throws {
    try await cancelWhenGracefulShutdown {
      do {
        while true {
          try await Task.sleep(for: .seconds(2))
          guard let poolers else { continue }
          for line in await poolers.lines where await fleet.running(line: line) == nil {
            await poolers.end(line: line)
          }
        }
      } catch is CancellationError {}
    }
    await poolers?.endAll()
  }
}
