import Crypto
import Foundation

/// The hash functions of SCRAM-SHA-256 over plain byte arrays.
enum SCRAMHash {
  static let length = 32

  static func sha256(_ bytes: [UInt8]) -> [UInt8] { [UInt8](SHA256.hash(data: bytes)) }

  static func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
    [UInt8](HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
  }

  static func hmac(_ key: [UInt8], _ message: String) -> [UInt8] {
    hmac(key, [UInt8](message.utf8))
  }

  /// RFC 5802's `SaltedPassword`: PBKDF2-HMAC-SHA-256 with one block of output.
  static func saltedPassword(_ password: String, salt: [UInt8], iterations: Int) -> [UInt8] {
    let prepared = SASLPrep.prepare(password) ?? password
    let keyed = HMAC<SHA256>(key: SymmetricKey(data: [UInt8](prepared.utf8)))
    func round(_ bytes: [UInt8]) -> [UInt8] {
      var copy = keyed
      copy.update(data: bytes)
      return [UInt8](copy.finalize())
    }
    var block = round(salt + [0, 0, 0, 1])
    var result = block
    for _ in 1..<max(iterations, 1) {
      block = round(block)
      for index in result.indices { result[index] ^= block[index] }
    }
    return result
  }

  static func xor(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] { zip(left, right).map { $0 ^ $1 } }
}

enum ConstantTime {
  /// Compares without telling by its duration where the two differ. Lengths are not secret.
  static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
  }
}

enum Base64 {
  static func encode(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

  static func decode(_ text: some StringProtocol) -> [UInt8]? {
    Data(base64Encoded: String(text)).map { [UInt8]($0) }
  }
}

enum Randomness {
  /// `count` bytes from the kernel's generator.
  static func bytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
  }

  /// A SCRAM nonce: 18 random bytes in base64, as PostgreSQL makes them.
  static func nonce() -> String { Base64.encode(bytes(18)) }
}
