import Foundation
import Testing

@testable import PostgresProxy

/// RFC 7677 section 3's exchange (RFC 5802's own is for SHA-1).
@Suite struct SCRAMTests {
  static let clientNonce = "rOprNGfwEbeRWgbNEkqO"
  static let serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
  static let clientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
  static let serverFirst =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
  static let clientFinal =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    + "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
  static let serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

  var verifier: SCRAMVerifier {
    get throws {
      let salt = try #require(Base64.decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
      return SCRAMVerifier.make(password: "pencil", salt: salt, iterations: 4096)
    }
  }

  @Test func serverSpeaksTheRFCsExchange() throws {
    var server = SCRAMServer(verifier: try verifier, nonce: Self.serverNonce, bindingData: nil)
    let first = try server.receiveFirst(mechanism: "SCRAM-SHA-256", message: Self.clientFirst)
    #expect(first == Self.serverFirst)
    let (reply, key) = try server.receiveFinal(Self.clientFinal)
    #expect(reply == Self.serverFinal)
    #expect(try verifier.clientKey(password: "pencil")?.bytes == key.bytes)
  }

  @Test func clientSpeaksTheRFCsExchange() throws {
    let verifier = try verifier
    let key = try #require(verifier.clientKey(password: "pencil"))
    var client = SCRAMClient(
      clientKey: key, verifier: verifier, nonce: Self.clientNonce, userName: "user")
    #expect(client.first == Self.clientFirst)
    #expect(try client.receiveFirst(Self.serverFirst) == Self.clientFinal)
    try client.receiveFinal(Self.serverFinal)
    #expect(throws: SCRAMError.rejected) { try client.receiveFinal("v=AAAA") }
  }

  @Test func anyChangedCharacterOfTheProofIsRefused() throws {
    let final = Array(Self.clientFinal)
    for index in final.indices {
      var changed = final
      changed[index] = final[index] == "A" ? "B" : "A"
      var server = SCRAMServer(verifier: try verifier, nonce: Self.serverNonce, bindingData: nil)
      _ = try server.receiveFirst(mechanism: "SCRAM-SHA-256", message: Self.clientFirst)
      #expect(throws: SCRAMError.self) { try server.receiveFinal(String(changed)) }
    }
  }

  @Test func mockFailsEvenWithTheRightProof() throws {
    var server = SCRAMServer(
      verifier: try verifier, nonce: Self.serverNonce, bindingData: nil, isMock: true)
    _ = try server.receiveFirst(mechanism: "SCRAM-SHA-256", message: Self.clientFirst)
    #expect(throws: SCRAMError.rejected) { try server.receiveFinal(Self.clientFinal) }
  }

  @Test func bindingOfAnotherCertificateIsRefused() throws {
    let nonce = Self.clientNonce
    func login(bound: [UInt8]) throws -> String {
      let header = "p=tls-server-end-point,,"
      let verifier = try verifier
      var server = SCRAMServer(verifier: verifier, nonce: "server", bindingData: [1, 2, 3])
      let first = try server.receiveFirst(
        mechanism: "SCRAM-SHA-256-PLUS", message: "\(header)n=,r=\(nonce)")
      let binding = Base64.encode([UInt8](header.utf8) + bound)
      let withoutProof = "c=\(binding),r=\(nonce)server"
      let message = "n=,r=\(nonce),\(first),\(withoutProof)"
      let key = try #require(verifier.clientKey(password: "pencil"))
      let signature = SCRAMHash.hmac(verifier.storedKey, message)
      let proof = Base64.encode(SCRAMHash.xor(key.bytes, signature))
      return try server.receiveFinal("\(withoutProof),p=\(proof)").reply
    }
    #expect(try login(bound: [1, 2, 3]).hasPrefix("v="))
    #expect(throws: SCRAMError.wrongChannelBinding) { try login(bound: [1, 2, 4]) }
  }

  @Test func offerCutOutByAThirdPartyIsNoticed() throws {
    var server = SCRAMServer(verifier: try verifier, nonce: "s", bindingData: [1])
    #expect(throws: SCRAMError.wrongChannelBinding) {
      try server.receiveFirst(mechanism: "SCRAM-SHA-256", message: "y,,n=,r=abc")
    }
  }

  @Test(arguments: [
    "", "n", "n,,", "n,,n=", "n,,n=,r=", "n,,r=a,n=b", "n,a=x,n=,r=abc", "n,,m=x,n=,r=abc",
    "p=tls-unique,,n=,r=abc", "n,,n=,r=a\u{1}b", "x,,n=,r=abc",
  ])
  func malformedFirstMessageIsRefused(message: String) throws {
    var server = SCRAMServer(verifier: try verifier, nonce: "s", bindingData: nil)
    #expect(throws: SCRAMError.self) {
      try server.receiveFirst(mechanism: "SCRAM-SHA-256", message: message)
    }
  }

  @Test func verifierTextIsReadAndPrinted() throws {
    let text = try verifier.description
    #expect(SCRAMVerifier(text) == (try verifier))
    for bad in [
      "", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:AA==$AA==:AA==",
      text.replacing("4096", with: "x"), String(text.dropLast(4)), text + "$",
    ] {
      #expect(SCRAMVerifier(bad) == nil, "\(bad)")
    }
  }

  /// RFC 4013 section 3's examples, and what PostgreSQL does with the refused ones.
  @Test func preparationFollowsTheRFC() {
    #expect(SASLPrep.prepare("I\u{AD}X") == "IX")
    #expect(SASLPrep.prepare("\u{AA}") == "a")
    #expect(SASLPrep.prepare("\u{2168}") == "IX")
    #expect(SASLPrep.prepare("\u{627}\u{31}") == nil)
    #expect(SASLPrep.prepare("a\u{E000}") == nil)
    #expect(SASLPrep.prepare("\u{1F600}") == nil)  // not in Unicode 3.2
    #expect(SASLPrep.prepare("a\u{7}") == "a\u{7}")  // PostgreSQL leaves ASCII alone
  }
}
