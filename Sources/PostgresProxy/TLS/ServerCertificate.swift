import Crypto
import Foundation
import NIOSSL
import SwiftASN1
import X509

/// The certificate that the proxy shows, as NIOSSL takes it, and what SCRAM binds to.
struct ServerCertificate {
  let context: NIOSSLContext
  /// RFC 5929's `tls-server-end-point`; nil where the certificate's algorithm defines none.
  let bindingData: [UInt8]?

  /// Reads a PEM chain (the server's own first) and its key.
  init(chainPath: String, keyPath: String) throws(ProxyStartError) {
    do {
      let chain = try NIOSSLCertificate.fromPEMFile(chainPath)
      guard let own = chain.first else {
        throw ProxyStartError(
          code: .certificateInvalid, message: "read certificate '\(chainPath)': it holds none")
      }
      let key = try NIOSSLPrivateKey(file: keyPath, format: .pem)
      var configuration = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
      configuration.minimumTLSVersion = .tlsv12
      configuration.applicationProtocols = [Self.applicationProtocol]
      context = try NIOSSLContext(configuration: configuration)
      bindingData = try Self.bindingData(Certificate(derEncoded: own.toDERBytes()), of: own)
    } catch let error as ProxyStartError {
      throw error
    } catch {
      throw ProxyStartError(
        code: .certificateInvalid,
        message: "load certificate '\(chainPath)' with key '\(keyPath)': \(error)",
        hint: "Both files are PEM; the key belongs to the chain's first certificate.")
    }
  }

  /// PostgreSQL's name in ALPN.
  static let applicationProtocol = "postgresql"

  /// The hash is the signature's, or SHA-256 where that is weaker (RFC 5929 section 4.1).
  private static func bindingData(
    _ certificate: Certificate, of own: NIOSSLCertificate
  ) throws -> [UInt8]? {
    let bytes = try own.toDERBytes()
    switch certificate.signatureAlgorithm {
    case .sha256WithRSAEncryption, .ecdsaWithSHA256, .sha1WithRSAEncryption:
      return [UInt8](SHA256.hash(data: bytes))
    case .sha384WithRSAEncryption, .ecdsaWithSHA384:
      return [UInt8](SHA384.hash(data: bytes))
    case .sha512WithRSAEncryption, .ecdsaWithSHA512:
      return [UInt8](SHA512.hash(data: bytes))
    default:
      return nil
    }
  }
}

/// The self-signed certificate that the proxy makes for itself.
struct SelfSignedCertificate {
  /// Names of `directory`'s files: the certificate (for clients' `sslrootcert`, readable by all)
  /// and its key (0600).
  static let certificateName = "server.crt"
  static let keyName = "server.key"
  /// Long, because nobody renews it by hand; the proxy makes a new one near its end.
  static let lifetime: TimeInterval = 10 * 365 * 86_400
  static let renewalMargin: TimeInterval = 30 * 86_400

  /// Makes key and certificate where they are missing, near their end, or lack a name.
  ///
  /// - Returns: the paths of certificate and key, both durable.
  static func ensure(
    in directory: String, domain: String?, now: Date
  ) throws(ProxyStartError) -> (certificate: String, key: String) {
    let certificatePath = "\(directory)/\(certificateName)"
    let keyPath = "\(directory)/\(keyName)"
    let names = names(domain: domain)
    if let pem = try StateFile.read(certificatePath), let key = try StateFile.read(keyPath),
      covers(pem, key: key, names: names, now: now)
    {
      return (certificatePath, keyPath)
    }
    let made: (certificate: String, key: String)
    do {
      made = try make(names: names, now: now)
    } catch {
      throw ProxyStartError(code: .certificateInvalid, message: "make certificate: \(error)")
    }
    try StateFile.write([UInt8](made.key.utf8), to: keyPath)
    try StateFile.write([UInt8](made.certificate.utf8), to: certificatePath, mode: 0o644)
    return (certificatePath, keyPath)
  }

  private static func names(domain: String?) -> [String] {
    ["localhost"] + (domain.map { [$0, "*.\($0)"] } ?? [])
  }

  /// Whether the certificate in `pem` belongs to `key`, is valid for a while yet and holds exactly
  /// `names`.
  private static func covers(_ pem: [UInt8], key: [UInt8], names: [String], now: Date) -> Bool {
    let keyText = String(decoding: key, as: UTF8.self)
    // What cannot be read is replaced, as what has expired is.
    guard let certificate = try? Certificate(pemEncoded: String(decoding: pem, as: UTF8.self)),
      let own = try? P256.Signing.PrivateKey(pemRepresentation: keyText),
      certificate.publicKey == Certificate.PublicKey(own.publicKey),
      certificate.notValidBefore <= now,
      certificate.notValidAfter > now.addingTimeInterval(renewalMargin),
      let alternatives = try? certificate.extensions.subjectAlternativeNames
    else { return false }
    return names
      == alternatives.compactMap { name in
        if case .dnsName(let text) = name { text } else { nil }
      }
  }

  private static func make(
    names: [String], now: Date
  ) throws -> (certificate: String, key: String) {
    let key = P256.Signing.PrivateKey()
    let name = try DistinguishedName { CommonName("Exzo Postgres proxy") }
    let addresses: [[UInt8]] = [[127, 0, 0, 1], Array(repeating: 0, count: 15) + [1]]
    let alternatives =
      names.map { GeneralName.dnsName($0) }
      + addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0[...])) }
    let certificate = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: .init(key.publicKey),
      notValidBefore: now.addingTimeInterval(-3600),
      notValidAfter: now.addingTimeInterval(lifetime),
      issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        Critical(KeyUsage(digitalSignature: true))
        try ExtendedKeyUsage([.serverAuth])
        SubjectAlternativeNames(alternatives)
      }, issuerPrivateKey: .init(key))
    return (try certificate.serializeAsPEM().pemString, key.pemRepresentation)
  }
}
