/// The client's side of one SCRAM-SHA-256 login, by client key instead of password.
///
/// The proxy learned the key from its own client's proof, and the compute holds the same verifier
/// (RFC 5802 section 3: `ClientProof` needs `ClientKey` and `StoredKey` only). Never binds the
/// channel: it runs over a unix socket.
struct SCRAMClient {
  private let clientKey: SCRAMClientKey
  private let verifier: SCRAMVerifier
  private let nonce: String
  private let userName: String
  private var authMessage: [UInt8] = []

  /// - Parameter userName: stays empty for PostgreSQL, which takes the startup packet's.
  init(clientKey: SCRAMClientKey, verifier: SCRAMVerifier, nonce: String, userName: String = "") {
    self.clientKey = clientKey
    self.verifier = verifier
    self.nonce = nonce
    self.userName = userName
  }

  private var firstBare: String { "n=\(userName),r=\(nonce)" }

  /// `client-first-message`.
  var first: String { "n,,\(firstBare)" }

  /// Takes `server-first-message`, returns `client-final-message`.
  ///
  /// - Throws: ``SCRAMError/rejected`` when the server's salt or iterations are not the verifier's:
  ///   its password is another one.
  mutating func receiveFirst(_ message: String) throws(SCRAMError) -> String {
    var attributes = SCRAMAttributes(message[...])
    let serverNonce = try attributes.value(of: "r")
    let salt = try attributes.value(of: "s")
    let iterations = try attributes.value(of: "i")
    guard serverNonce.hasPrefix(nonce), serverNonce.count > nonce.count,
      serverNonce.isPrintableNonce
    else { throw .malformed("a nonce that does not continue ours") }
    guard Base64.decode(salt) == verifier.salt, Int(iterations) == verifier.iterations else {
      throw .rejected
    }
    let withoutProof = "c=biws,r=\(serverNonce)"  // "n,," in base64
    authMessage = [UInt8]("\(firstBare),\(message),\(withoutProof)".utf8)
    let signature = SCRAMHash.hmac(verifier.storedKey, authMessage)
    let proof = SCRAMHash.xor(clientKey.bytes, signature)
    return "\(withoutProof),p=\(Base64.encode(proof))"
  }

  /// Takes `server-final-message`: the server must have known the verifier, too.
  func receiveFinal(_ message: String) throws(SCRAMError) {
    var attributes = SCRAMAttributes(message[...])
    guard let signature = Base64.decode(try attributes.value(of: "v")) else {
      throw .malformed("a server signature of another form")
    }
    let expected = SCRAMHash.hmac(verifier.serverKey, authMessage)
    guard ConstantTime.isEqual(signature, expected) else { throw .rejected }
  }
}
