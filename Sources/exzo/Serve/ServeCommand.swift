import ArgumentParser
import Catalog
import Foundation
import Logging
import PostgresClient

/// `exzo serve`: API, proxy and schedulers over one data directory.
struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the platform: API, Postgres proxy, schedulers.",
    discussion: """
      Every option can also be given as EXZO_… in the environment (EXZO_DATA_DIR) and in the file
      named by --config ('data-dir: /srv/exzo'); options win over the environment, the environment
      over the file.
      """)

  @Option(help: "Where everything local is kept.") var dataDir: String?
  @Option(help: "Address of the API (default 127.0.0.1:8432).") var http: String?
  @Option(help: "Address of the Postgres proxy (default 127.0.0.1:5433).") var postgres: String?
  @Option(help: "Endpoints are host names below this domain.") var domain: String?
  @Option(help: "Certificate chain, PEM.") var tlsCert: String?
  @Option(help: "Key of the certificate, PEM.") var tlsKey: String?
  @Option(help: "Configuration file, 'name: value' lines.") var config: String?
  @Option(
    help:
      "file:///path or s3://bucket/prefix?endpoint=…&region=…&style=path (default: DIR/objects).")
  var objectStore: String?
  @Option(help: "'on' or 'off': seal all that is stored (default: on for a new bucket).")
  var encryption: String?
  @Option(help: "File with the master key (default: DIR/master-key, made at first start).")
  var masterKey: String?
  @Option(help: "Shell command that prints the master key, instead of a file.")
  var masterKeyCommand: String?
  @Option(help: "A second object store that everything is copied to.") var mirror: String?
  @Option(
    help: "off: keep history that no branch, snapshot, lease or window needs (default: on).")
  var collectHistory: String?
  @Option(
    help: "What a compute's size limits by control groups: off, memory (default) or all.")
  var computeLimits: String?
  @Option(help: "Disk for what is read from a bucket (default: 10G).") var cacheSize: String?
  @Option(help: "postgresql://… (default: an embedded server).") var metadataUrl: String?
  @Option(
    help:
      "Bring everything back from this object store first, and serve from it; for an empty --data-dir."
  )
  var recoverFrom: String?
  @Flag(help: "Recover although the history of some branches is damaged: these come back closed.")
  var recoverDespiteDamage = false
  @Option(help: "Requests of one account a minute (default 700; 0: no limit).")
  var requestsPerMinute: Int?
  @OptionGroup(title: "Proofs and alerts") var proofOptions: ProofOptions
  @Option(
    help:
      "Networks that 'attach' may reach although they are closed (loopback, link-local): ADDRESS/BITS, …"
  )
  var attachNetworks: String?
  @Option(help: "Names by which browsers reach the Console, with commas between.")
  var consoleHosts: String?
  @Option(help: "A page where users help each other, for the Console's help.")
  var communityUrl: String?
  @Flag(help: "Allow HTTP and plain Postgres connections beyond loopback.")
  var allowPlain = false

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    raiseFileLimit()
    let options = try options(environment: ProcessInfo.processInfo.environment)
    try options.check()
    try await Installation(options: options).run()
  }

  /// Lays options over environment over file.
  func options(environment: [String: String]) throws -> ServeOptions {
    let layers = try LayeredSettings(
      environment: environment, configurationFile: config ?? environment["EXZO_CONFIG"])
    guard let directory = layers.value("data-dir", flag: dataDir) else {
      throw ValidationError("--data-dir is missing: name the directory that holds everything")
    }
    let path = URL(fileURLWithPath: directory).standardizedFileURL.path
    return ServeOptions(
      dataDirectory: path,
      http: try layers.address("http", flag: http, standard: "127.0.0.1:8432"),
      postgres: try layers.address("postgres", flag: postgres, standard: "127.0.0.1:5433"),
      domain: layers.value("domain", flag: domain),
      tlsCertificate: layers.value("tls-cert", flag: tlsCert),
      tlsKey: layers.value("tls-key", flag: tlsKey),
      objectStore: try storeURL(layers, path),
      encryption: try layers.onOrOff("encryption", flag: encryption),
      masterKeyFile: layers.value("master-key", flag: masterKey) ?? "\(path)/master-key",
      masterKeyCommand: layers.value("master-key-command", flag: masterKeyCommand),
      mirror: layers.value("mirror", flag: mirror),
      cacheSize: try layers.bytes("cache-size", flag: cacheSize, standard: 10 << 30),
      metadataURL: layers.value("metadata-url", flag: metadataUrl),
      recoverFrom: layers.value("recover-from", flag: recoverFrom),
      recoversDespiteDamage: try recoverDespiteDamage
        || layers.onOrOff("recover-despite-damage", flag: nil) == true,
      allowPlainBeyondLoopback: allowPlain
        || ["1", "true", "yes"].contains(layers.value("allow-plain", flag: nil) ?? ""),
      requestsPerMinute: try layers.count(
        "requests-per-minute", flag: requestsPerMinute, standard: 700),
      collectsHistory: try layers.onOrOff("collect-history", flag: collectHistory) ?? true,
      computeLimits: try layers.word("compute-limits", flag: computeLimits, standard: .memory),
      proofs: try proofOptions.proofs(layers), alerts: try proofOptions.alerts(layers),
      consoleHosts: (layers.value("console-hosts", flag: consoleHosts) ?? "").split(separator: ",")
        .map { $0.trimmingCharacters(in: .whitespaces) },
      communityURL: layers.value("community-url", flag: communityUrl),
      attachNetworks: try networks(layers), clock: try layers.clock())
  }
}

extension ServeCommand {
  private func networks(_ layers: LayeredSettings) throws -> NetworkRules {
    let text = layers.value("attach-networks", flag: attachNetworks) ?? ""
    do {
      return try NetworkRules(
        opened: text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
    } catch let error as PostgresError {
      throw ValidationError("--attach-networks: \(error.message)")
    }
  }

  /// The store that was named, that is recovered from, that was used last, or the one in the data
  /// directory.
  private func storeURL(_ layers: LayeredSettings, _ path: String) throws -> String {
    let named = layers.value("object-store", flag: objectStore)
    if let source = layers.value("recover-from", flag: recoverFrom) {
      if let named, named != source {
        throw ServeError(
          "recover from '\(source)' into --object-store '\(named)': what is recovered is served from "
            + "where it lies",
          hint: "leave --object-store out; to move it, 'exzo store mirror --from … --to …' first")
      }
      return source
    }
    let record = StoreHold.recordPath(path)
    // A data directory that cannot be one is told of when it is opened.
    let isThere = FileManager.default.fileExists(atPath: record)
    let last = isThere ? try StoreOwnership.recordedStore(record) : nil
    return named ?? last ?? "file://\(path)/objects"
  }
}

extension ServeOptions {
  /// Refuses what cannot be honoured, before anything is touched.
  func check() throws {
    if (tlsCertificate == nil) != (tlsKey == nil) {
      throw ServeError("use TLS: --tls-cert and --tls-key go together; one of them is missing")
    }
    if !http.isLoopback && tlsCertificate == nil && !allowPlainBeyondLoopback {
      throw ServeError(
        "listen on \(http): HTTP without TLS beyond loopback",
        hint: "give --tls-cert and --tls-key, or force it with --allow-plain")
    }
  }
}
