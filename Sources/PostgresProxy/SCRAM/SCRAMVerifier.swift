import Foundation

/// What a server keeps of a password under SCRAM-SHA-256: enough to check a login, not enough to
/// make one.
///
/// The text form is PostgreSQL's (`pg_authid.rolpassword`):
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
/// Source: RFC 5802 section 3, RFC 7677, PostgreSQL's `scram-common.c`.
public struct SCRAMVerifier: Sendable, Equatable, LosslessStringConvertible {
  /// PBKDF2 rounds; 1 to ``maximumIterations``.
  public let iterations: Int
  public let salt: [UInt8]
  let storedKey: [UInt8]
  let serverKey: [UInt8]

  /// PostgreSQL's own default.
  public static let defaultIterations = 4096
  /// PostgreSQL's own default, in bytes.
  public static let defaultSaltLength = 16
  /// Ten seconds of work for one login is already far past sense.
  static let maximumIterations = 10_000_000

  init(iterations: Int, salt: [UInt8], storedKey: [UInt8], serverKey: [UInt8]) {
    self.iterations = iterations
    self.salt = salt
    self.storedKey = storedKey
    self.serverKey = serverKey
  }

  /// Reads the text form; nil when it is not one.
  public init?(_ text: String) {
    let parts = text.split(separator: "$", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "SCRAM-SHA-256" else { return nil }
    let work = parts[1].split(separator: ":", omittingEmptySubsequences: false)
    let keys = parts[2].split(separator: ":", omittingEmptySubsequences: false)
    guard work.count == 2, keys.count == 2,
      let iterations = Int(work[0]), 1...Self.maximumIterations ~= iterations,
      let salt = Base64.decode(work[1]), !salt.isEmpty,
      let storedKey = Base64.decode(keys[0]), storedKey.count == SCRAMHash.length,
      let serverKey = Base64.decode(keys[1]), serverKey.count == SCRAMHash.length
    else { return nil }
    self.init(iterations: iterations, salt: salt, storedKey: storedKey, serverKey: serverKey)
  }

  public var description: String {
    "SCRAM-SHA-256$\(iterations):\(Base64.encode(salt))"
      + "$\(Base64.encode(storedKey)):\(Base64.encode(serverKey))"
  }

  /// Makes the verifier of `password`, as PostgreSQL would with the same salt.
  ///
  /// - Parameter password: prepared with SASLprep; where that refuses it, taken as it stands,
  ///   which is what libpq does.
  /// - Parameter salt: random bytes, ``defaultSaltLength`` of them; `randomSalt()` makes them.
  /// - Complexity: `iterations` HMACs, some milliseconds for the default; blocks.
  public static func make(
    password: String, salt: [UInt8] = randomSalt(), iterations: Int = defaultIterations
  ) -> SCRAMVerifier {
    precondition(1...maximumIterations ~= iterations && !salt.isEmpty)
    let salted = SCRAMHash.saltedPassword(password, salt: salt, iterations: iterations)
    let clientKey = SCRAMHash.hmac(salted, "Client Key")
    return SCRAMVerifier(
      iterations: iterations, salt: salt, storedKey: SCRAMHash.sha256(clientKey),
      serverKey: SCRAMHash.hmac(salted, "Server Key"))
  }

  public static func randomSalt() -> [UInt8] { Randomness.bytes(defaultSaltLength) }

  /// The client key of `password` when it is the right one, else nil. Blocks for some milliseconds.
  func clientKey(password: String) -> SCRAMClientKey? {
    let salted = SCRAMHash.saltedPassword(password, salt: salt, iterations: iterations)
    return accept(clientKey: SCRAMHash.hmac(salted, "Client Key"))
  }

  /// `bytes` as a client key when its hash is the stored key, else nil. In constant time.
  func accept(clientKey bytes: [UInt8]) -> SCRAMClientKey? {
    guard ConstantTime.isEqual(SCRAMHash.sha256(bytes), storedKey) else { return nil }
    return SCRAMClientKey(bytes: bytes)
  }
}

/// The proof of having known the password once: with the verifier it logs in anywhere the same
/// verifier stands, so it never leaves memory and never prints.
struct SCRAMClientKey: Sendable, CustomStringConvertible {
  let bytes: [UInt8]
  var description: String { "SCRAMClientKey(…)" }
}
