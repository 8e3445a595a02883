import Crypto
import Foundation
import Synchronization

/// Names as the store sees them: each part of a key sealed, so that only whoever has the key of
/// names can read it, and that a directory stays a directory.
///
/// A part becomes `-` and base64url of (16 bytes of HMAC over its directory and itself, which serve
/// as nonce and as proof, then the part, masked by HMACs of that nonce). Equal names in one
/// directory become equal, so an object is found without an index. Numbers (groups of hexadecimal
/// digits, the first of 8 or more) stay as they are: they count, and say nothing; the order that
/// listings rely on is theirs.
struct OpaqueNames: Sendable {
  private let proof: SymmetricKey
  private let mask: SymmetricKey
  private let known = KnownParts()

  /// - Parameter key: 32 bytes.
  init(key: [UInt8]) {
    let base = SymmetricKey(data: key)
    proof = HKDF<SHA256>.deriveKey(
      inputKeyMaterial: base, info: Array("exzo names proof 1".utf8), outputByteCount: 32)
    mask = HKDF<SHA256>.deriveKey(
      inputKeyMaterial: base, info: Array("exzo names mask 1".utf8), outputByteCount: 32)
  }

  static func isNumber(_ part: some StringProtocol) -> Bool {
    let groups = part.split(separator: "-", omittingEmptySubsequences: false)
    guard let first = groups.first, first.utf8.count >= 8 else { return false }
    return groups.allSatisfy { group in
      !group.isEmpty
        && group.utf8.allSatisfy {
          (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
    }
  }

  /// The stored name of a key, or of a directory without a slash at its end.
  func encode(_ name: String) -> String {
    var directory = ""
    var result: [String] = []
    for part in name.split(separator: "/") {
      result.append(encode(String(part), in: directory))
      directory += part + "/"
    }
    return result.joined(separator: "/")
  }

  /// - Parameter directory: plain, ending with `/`; or empty.
  func encode(_ part: String, in directory: String) -> String {
    if OpaqueNames.isNumber(part) { return part }
    let plain = Array(part.utf8)
    let nonce = nonce(plain, directory)
    let text = base64(nonce + masked(plain, nonce))
    return "-"
      + text.replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
      .replacingOccurrences(of: "=", with: "")
  }

  /// The plain name of a stored key; `nil` where it is none of ours.
  func decode(_ name: String) -> String? {
    var directory = ""
    for part in name.split(separator: "/", omittingEmptySubsequences: false) {
      guard let plain = decode(String(part), in: directory) else { return nil }
      directory += plain + "/"
    }
    return String(directory.dropLast())
  }

  func decode(_ part: String, in directory: String) -> String? {
    if OpaqueNames.isNumber(part) { return part }
    guard part.hasPrefix("-") else { return nil }
    // No plain directory holds a space.
    let place = "\(directory) \(part)"
    if let plain = known[place] { return plain }
    var encoded = part.dropFirst().replacingOccurrences(of: "-", with: "+")
      .replacingOccurrences(of: "_", with: "/")
    while encoded.utf8.count % 4 != 0 { encoded += "=" }
    guard let data = Data(base64Encoded: encoded), data.count > 16 else { return nil }
    let nonce = Array(data.prefix(16))
    let plain = masked(Array(data.dropFirst(16)), nonce)
    guard self.nonce(plain, directory) == nonce else { return nil }
    let text = String(decoding: plain, as: UTF8.self)
    known[place] = text
    return text
  }

  private func nonce(_ part: [UInt8], _ directory: String) -> [UInt8] {
    Array(
      HMAC<SHA256>.authenticationCode(for: Array(directory.utf8) + part, using: proof).prefix(16))
  }

  private func masked(_ bytes: [UInt8], _ nonce: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var block: UInt8 = 0
    while result.count < bytes.count {
      let stream = HMAC<SHA256>.authenticationCode(for: nonce + [block], using: mask)
      for (byte, cover) in zip(bytes[result.count...], Array(stream)) {
        result.append(byte ^ cover)
      }
      block += 1
    }
    return result
  }
}

/// Parts that were opened before: listings bring the same directories again and again.
private final class KnownParts: Sendable {
  private let parts = Mutex<[String: String]>([:])
  /// About 20 MB.
  private static let limit = 100_000

  subscript(place: String) -> String? {
    get { parts.withLock { $0[place] } }
    set {
      parts.withLock { parts in
        if parts.count >= Self.limit { parts = [:] }
        parts[place] = newValue
      }
    }
  }
}
