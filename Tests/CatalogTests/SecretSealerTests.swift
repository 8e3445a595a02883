import Crypto
import Foundation
import TestSupport
import Testing

@testable import Catalog

@Suite struct SecretSealerTests {
  private let sealer: SecretSealer

  init() throws { sealer = try SecretSealer(key: Array(0..<32)) }

  @Test func opensWhatItSealedAndNothingElse() throws {
    let sealed = try sealer.seal(Array("secret".utf8), context: "role br-a owner")
    #expect(try sealer.open(sealed, context: "role br-a owner") == Array("secret".utf8))
    #expect(throws: CatalogError.self) { try sealer.open(sealed, context: "role br-b owner") }
    let other = try SecretSealer(key: Array(1..<33))
    #expect(throws: CatalogError.self) { try other.open(sealed, context: "role br-a owner") }
    for index in sealed.bytes.indices {
      var changed = sealed
      changed.bytes[index] ^= 1
      #expect(throws: CatalogError.self) { try sealer.open(changed, context: "role br-a owner") }
    }
    for count in 0..<sealed.bytes.count {
      let cut = SealedBytes(Array(sealed.bytes[..<count]))
      #expect(throws: CatalogError.self) { try sealer.open(cut, context: "role br-a owner") }
    }
    #expect(throws: CatalogError.self) { try SecretSealer(key: [1]) }
  }

  /// The example of docs/formats/sealed-value.md.
  @Test func theDocumentedExampleIsWhatIsWritten() throws {
    let nonce = try AES.GCM.Nonce(data: [UInt8](repeating: 7, count: 12))
    let sealed = try sealer.seal(Array("secret".utf8), context: "example", nonce: nonce)
    let hex = sealed.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let document = try String(contentsOfFile: "docs/formats/sealed-value.md", encoding: .utf8)
    #expect(document.contains(hex), "\(hex)")
    #expect(try sealer.open(sealed, context: "example") == Array("secret".utf8))
  }

  @Test func theKeyFileIsMadeOncePrivateAndNeverReplaced() async throws {
    try await withTemporaryDirectory { directory in
      let path = "\(directory)/secret-key"
      var random = SystemRandomNumberGenerator()
      let first = try SecretSealer.load(from: path, random: &random)
      #expect(try SecretSealer.load(from: path, random: &random).keyID == first.keyID)
      let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
      #expect(mode == 0o600)
      try "garbage".write(toFile: path, atomically: false, encoding: .utf8)
      #expect(throws: CatalogError.self) { try SecretSealer.load(from: path, random: &random) }
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "garbage")
    }
  }
}
