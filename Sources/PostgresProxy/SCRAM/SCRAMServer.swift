import Foundation

/// The server's side of one SCRAM-SHA-256 login (RFC 5802, RFC 7677), with or without
/// `tls-server-end-point` channel binding (RFC 5929).
///
/// A value: two calls, `receiveFirst` and then `receiveFinal`; any throw ends the exchange.
struct SCRAMServer {
  static let mechanism = "SCRAM-SHA-256"
  static let bindingMechanism = "SCRAM-SHA-256-PLUS"

  private let verifier: SCRAMVerifier
  private let serverNonce: String
  /// The certificate's hash; nil where the connection has none, and then PLUS is not offered.
  private let bindingData: [UInt8]?
  private let isMock: Bool

  private var header = ""
  private var bindsChannel = false
  private var firstBare = ""
  private var serverFirst = ""
  private var nonce = ""

  /// - Parameter isMock: the role or endpoint does not exist; every proof fails, after the same
  ///   work.
  init(
    verifier: SCRAMVerifier, nonce: String, bindingData: [UInt8]?, isMock: Bool = false
  ) {
    self.verifier = verifier
    serverNonce = nonce
    self.bindingData = bindingData
    self.isMock = isMock
  }

  /// The mechanisms to offer, best first.
  var mechanisms: [String] {
    bindingData == nil ? [Self.mechanism] : [Self.bindingMechanism, Self.mechanism]
  }

  /// Takes `client-first-message`, returns `server-first-message`.
  mutating func receiveFirst(mechanism: String, message: String) throws(SCRAMError) -> String {
    guard mechanisms.contains(mechanism) else {
      throw .unsupported("authentication mechanism '\(mechanism)'")
    }
    let bare = try readHeader(message, bindsChannel: mechanism == Self.bindingMechanism)
    var attributes = SCRAMAttributes(bare)
    if bare.first == "m" { throw .unsupported("a mandatory SCRAM extension") }
    _ = try attributes.value(of: "n")  // PostgreSQL, too, takes the startup packet's name instead
    let clientNonce = try attributes.value(of: "r")
    guard clientNonce.isPrintableNonce else { throw .malformed("a nonce of other characters") }
    firstBare = String(bare)
    nonce = clientNonce + serverNonce
    serverFirst = "r=\(nonce),s=\(Base64.encode(verifier.salt)),i=\(verifier.iterations)"
    return serverFirst
  }

  /// Reads the GS2 header and returns what follows it.
  private mutating func readHeader(
    _ message: String, bindsChannel binds: Bool
  ) throws(SCRAMError) -> Substring {
    let parts = message.split(
      separator: ",", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3 else { throw .malformed("no GS2 header") }
    switch parts[0] {
    case "n" where !binds: break
    case "y" where !binds:
      // The client can bind and believes that we cannot: someone cut our offer out.
      if bindingData != nil { throw .wrongChannelBinding }
    case "p=tls-server-end-point" where binds: break
    default: throw .unsupported("channel binding '\(parts[0].prefix(40))' with this mechanism")
    }
    guard parts[1].isEmpty else { throw .unsupported("an authorization identity") }
    bindsChannel = binds
    header = "\(parts[0]),\(parts[1]),"
    return parts[2]
  }

  /// Takes `client-final-message`, returns `server-final-message` and the client's key.
  ///
  /// - Throws: ``SCRAMError/rejected`` for a wrong proof, and always for a mock.
  mutating func receiveFinal(
    _ message: String
  ) throws(SCRAMError) -> (reply: String, clientKey: SCRAMClientKey) {
    guard let proofStart = message.range(of: ",p=", options: .backwards) else {
      throw .malformed("no proof")
    }
    var attributes = SCRAMAttributes(message[...])
    let binding = try attributes.value(of: "c")
    let finalNonce = try attributes.value(of: "r")
    try attributes.skipExtensions(before: "p")
    let proofText = try attributes.value(of: "p")
    guard attributes.isAtEnd, let proof = Base64.decode(proofText),
      proof.count == SCRAMHash.length
    else { throw .malformed("a proof of another form") }
    guard let bound = Base64.decode(binding) else { throw .malformed("channel binding") }
    let expected = [UInt8](header.utf8) + (bindsChannel ? bindingData ?? [] : [])
    guard ConstantTime.isEqual(bound, expected) else { throw .wrongChannelBinding }
    guard ConstantTime.isEqual([UInt8](finalNonce.utf8), [UInt8](nonce.utf8)) else {
      throw .malformed("another nonce")
    }
    let withoutProof = message[..<proofStart.lowerBound]
    let authMessage = [UInt8]("\(firstBare),\(serverFirst),\(withoutProof)".utf8)
    let signature = SCRAMHash.hmac(verifier.storedKey, authMessage)
    let key = verifier.accept(clientKey: SCRAMHash.xor(proof, signature))
    guard let key, !isMock else { throw .rejected }
    let serverSignature = SCRAMHash.hmac(verifier.serverKey, authMessage)
    return ("v=\(Base64.encode(serverSignature))", key)
  }
}
