import Crypto
import Foundation

/// Makes what a server stores of a password (RFC 5802, RFC 7677; `common/scram-common.c`).
public enum SCRAMVerifierFactory {
  /// PostgreSQL's own default; RFC 7677 asks for at least 4096.
  public static let iterations = 4096

  /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as `pg_authid.rolpassword` holds
  /// it.
  ///
  /// - Parameters:
  ///   - password: ASCII, as all passwords of the platform are; other text would need SASLprep
  /// (RFC 4013).
  ///   - salt: 16 random bytes.
  /// - Complexity: `iterations` times two SHA-256 compressions; some milliseconds.
  public static func verifier(
    password: String, salt: [UInt8], iterations: Int = iterations
  ) -> String {
    precondition(password.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "password is not ASCII")
    let salted = saltedPassword(Array(password.utf8), salt, iterations)
    let clientKey = hmac(Array("Client Key".utf8), key: salted)
    let storedKey = Array(SHA256.hash(data: clientKey))
    let serverKey = hmac(Array("Server Key".utf8), key: salted)
    func base64(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }
    return
      "SCRAM-SHA-256$\(iterations):\(base64(salt))$\(base64(storedKey)):\(base64(serverKey))"
  }

  /// RFC 5802's `Hi`, which is PBKDF2 with one block.
  private static func saltedPassword(
    _ password: [UInt8], _ salt: [UInt8], _ iterations: Int
  ) -> [UInt8] {
    var block = hmac(salt + [0, 0, 0, 1], key: password)
    var result = block
    for _ in 1..<iterations {
      block = hmac(block, key: password)
      for index in result.indices { result[index] ^= block[index] }
    }
    return result
  }

  private static func hmac(_ message: [UInt8], key: [UInt8]) -> [UInt8] {
    Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
  }
}
