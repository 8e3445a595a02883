import Crypto
import Foundation

/// Seals what must be readable again but never lie in the open: role passwords, stored answers.
///
/// AES-256-GCM with a random nonce. What a value belongs to is authenticated with it, so a sealed
/// password moved to another role does not open. Layout: `docs/formats/sealed-value.md`.
public struct SecretSealer: Sendable {
  /// The first eight bytes of the key's SHA-256.
  public let keyID: [UInt8]
  private let key: SymmetricKey

  private static let version: UInt8 = 1
  private static let headerCount = 9
  private static let nonceCount = 12

  /// - Parameter key: 32 bytes.
  public init(key: [UInt8]) throws {
    guard key.count == 32 else {
      throw CatalogError(.unsealable, "use secret key: it has \(key.count) bytes, 32 are needed")
    }
    self.key = SymmetricKey(data: key)
    keyID = Array(SHA256.hash(data: key).prefix(8))
  }

  /// Reads the key in `path`, or makes one there with mode 0600 on first use. Blocks.
  /// - Throws: ``CatalogError`` for a file that is not 64 hexadecimal digits; it is never replaced.
  public static func load(
    from path: String, random: inout some RandomNumberGenerator
  ) throws -> SecretSealer {
    if let bytes = try PrivateFile.read(path) {
      let text = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .newlines)
      guard text.utf8.count == 64, let key = [UInt8].decode(text: "\\x" + text) else {
        throw CatalogError(
          .unsealable, "read secret key '\(path)': it must be 64 hexadecimal digits")
      }
      return try SecretSealer(key: key)
    }
    let key = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    let digits = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    try PrivateFile.write(Array((digits + "\n").utf8), to: path)
    return try SecretSealer(key: key)
  }

  /// - Parameter context: what the value belongs to; the same text opens it.
  public func seal(_ bytes: [UInt8], context: String) throws -> SealedBytes {
    try seal(bytes, context: context, nonce: AES.GCM.Nonce())
  }

  func seal(_ bytes: [UInt8], context: String, nonce: AES.GCM.Nonce) throws -> SealedBytes {
    let header = [Self.version] + keyID
    let box = try AES.GCM.seal(
      bytes, using: key, nonce: nonce, authenticating: header + Array(context.utf8))
    return SealedBytes(header + Array(nonce) + Array(box.ciphertext) + Array(box.tag))
  }

  /// - Throws: ``CatalogError`` `.unsealable` for changed bytes, another context or another key.
  public func open(_ sealed: SealedBytes, context: String) throws -> [UInt8] {
    let bytes = sealed.bytes
    guard bytes.count >= Self.headerCount + Self.nonceCount + 16, bytes[0] == Self.version else {
      throw CatalogError(.unsealable, "open sealed value: it is not one of version 1")
    }
    guard Array(bytes[1..<Self.headerCount]) == keyID else {
      throw CatalogError(.unsealable, "open sealed value: it was sealed with another key")
    }
    do {
      let box = try AES.GCM.SealedBox(combined: bytes[Self.headerCount...])
      let header = Array(bytes[..<Self.headerCount])
      return Array(
        try AES.GCM.open(box, using: key, authenticating: header + Array(context.utf8)))
    } catch {
      throw CatalogError(.unsealable, "open sealed value: it was changed or belongs elsewhere")
    }
  }
}
