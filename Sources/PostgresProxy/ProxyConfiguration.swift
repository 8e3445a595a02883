import Logging
import NIOCore

/// How a proxy is set up. Times and limits have the values of the contract.
public struct ProxyConfiguration: Sendable {
  /// A PEM chain and its key.
  public struct CertificateFiles: Sendable {
    public var certificate: String
    public var key: String

    public init(certificate: String, key: String) {
      self.certificate = certificate
      self.key = key
    }
  }

  /// A numeric address, or a name of this machine.
  public var host: String
  /// 0 takes any free port.
  public var port: Int
  /// Endpoints are `ep-….<domain>`; nil: server names name none.
  public var domain: String?
  /// An existing directory of the proxy's own: its certificate, key and secret, kept 0600.
  public var stateDirectory: String
  /// Instead of the self-signed certificate.
  public var certificateFiles: CertificateFiles?
  /// Whether clients on other machines may go without TLS.
  public var allowsPlainBeyondLoopback = false
  /// Whoever shows it connects for a client at another address: startup option
  /// `exzo_client:SECRET/ADDRESS`. Kept in memory only; nil where nobody may.
  public var callerSecret: String?
  public var maximumConnections = 4_000
  /// Connections of one address that have not logged in yet.
  public var handshakesPerSource = 500
  /// From the first byte to the login, the directory's answer included.
  public var handshakeTimeout = Duration.seconds(30)
  /// From the login to a compute that answers.
  public var wakeTimeout = Duration.seconds(30)
  public var failuresPerSource = FailureLimits.perSource
  public var failuresPerEndpoint = FailureLimits.perEndpoint

  public init(host: String = "127.0.0.1", port: Int = 5433, stateDirectory: String) {
    self.host = host
    self.port = port
    self.stateDirectory = stateDirectory
  }
}

/// What all connections of one proxy share.
final class ProxyEnvironment: Sendable {
  let configuration: ProxyConfiguration
  let directory: any ProxyDirectory
  let logger: Logger
  let certificate: ServerCertificate
  let mockSecret: [UInt8]
  let limiter: FailureLimiter
  let cancelKeys = CancelKeys()
  let registry: ConnectionRegistry

  init(
    configuration: ProxyConfiguration, directory: any ProxyDirectory, logger: Logger,
    certificate: ServerCertificate, mockSecret: [UInt8]
  ) {
    self.configuration = configuration
    self.directory = directory
    self.logger = logger
    self.certificate = certificate
    self.mockSecret = mockSecret
    let clock = ContinuousClock()
    let start = clock.now
    limiter = FailureLimiter(
      source: configuration.failuresPerSource, endpoint: configuration.failuresPerEndpoint,
      now: { clock.now - start })
    registry = ConnectionRegistry(
      maximum: configuration.maximumConnections,
      handshakesPerSource: configuration.handshakesPerSource)
  }
}

extension Duration {
  var timeAmount: TimeAmount {
    .nanoseconds(components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000)
  }
}
