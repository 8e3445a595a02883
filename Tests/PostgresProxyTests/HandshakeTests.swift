import NIOCore
import Testing

@testable import PostgresProxy

@Suite struct HandshakeTests {
  private func handshake(isLocal: Bool = true) -> ClientHandshake {
    ClientHandshake(
      settings: .init(
        allowsPlain: isLocal, domain: nil, bindingData: [1], mockSecret: Array(0..<32),
        nonce: "nonce"))
  }

  private func startup(_ options: String = "endpoint=ep-a-b-1", user: String = "app") -> ByteBuffer
  {
    var bytes = ByteBuffer()
    bytes.writeStartup([
      .init(name: "user", value: user), .init(name: "options", value: options),
    ])
    return bytes
  }

  private func describe(_ action: ClientHandshake.Action) -> String {
    switch action {
    case .send(let bytes): "send \(String(buffer: bytes).suffix(60))"
    case .refuse(let refusal, let failed): "refuse \(refusal.sqlState) \(failed)"
    default: "\(action)".prefix { $0 != "(" }.description
    }
  }

  @Test func unknownRoleGetsTheSameChallengeEachTimeAndAnotherThanOthers() {
    func challenge(_ user: String) -> String {
      var handshake = handshake()
      var bytes = startup(user: user)
      _ = handshake.next(&bytes)
      handshake.found(nil)
      _ = handshake.next(&bytes)
      let first = "n,,n=,r=abc"
      bytes.writeMessage("p") { body in
        body.writeNullTerminated("SCRAM-SHA-256")
        body.writeInteger(Int32(first.utf8.count))
        body.writeString(first)
      }
      return describe(handshake.next(&bytes))
    }
    #expect(challenge("a") == challenge("a"))
    #expect(challenge("a") != challenge("b"))
    #expect(challenge("a").hasSuffix("i=4096"))
  }

  @Test func plainStartupFromAnotherMachineIsRefused() {
    var handshake = handshake(isLocal: false)
    var bytes = startup()
    #expect(describe(handshake.next(&bytes)) == "refuse 28000 false")
  }

  @Test func bytesBehindATLSRequestAreRefused() {
    var handshake = handshake()
    var bytes = ByteBuffer(bytes: [0, 0, 0, 8, 4, 210, 22, 47, 1])
    #expect(describe(handshake.next(&bytes)) == "refuse 08P01 false")
  }

  @Test func gssRequestIsDeclinedAndTheNextPacketHeard() {
    var handshake = handshake()
    var bytes = ByteBuffer(bytes: [0, 0, 0, 8, 4, 210, 22, 48])
    #expect(describe(handshake.next(&bytes)) == "refuseEncryption")
    bytes = startup()
    #expect(describe(handshake.next(&bytes)) == "lookUp")
  }

  @Test func newerMinorVersionAndProtocolOptionsAreNegotiatedDown() {
    var handshake = handshake()
    var bytes = startup()
    bytes.setInteger(Int32(3 << 16 | 2), at: 4)
    _ = handshake.next(&bytes)
    handshake.found(nil)
    guard case .send(let reply) = handshake.next(&bytes) else {
      Issue.record("nothing sent")
      return
    }
    #expect(reply.getInteger(at: 0, as: UInt8.self) == UInt8(ascii: "v"))
    #expect(reply.getInteger(at: 13, as: UInt8.self) == UInt8(ascii: "R"))
  }

  @Test func directTLSNeedsPostgreSQLsProtocolName() {
    var handshake = handshake()
    var bytes = ByteBuffer(bytes: [0x16, 3, 1])
    #expect(describe(handshake.next(&bytes)) == "startTLS")
    handshake.encrypted(isDirect: true, serverName: nil, applicationProtocol: "http/1.1")
    #expect(handshake.hasEnded)
  }

  /// Seeded: valid packets with bytes changed, cut and put in, in pieces, with answers in between.
  @Test(arguments: 0..<8) func arbitraryBytesNeverTrap(seed: Int) {
    var random = SplitMix(state: UInt64(seed))
    let verifier = SCRAMVerifier.make(password: "x", iterations: 1).description
    for _ in 0..<3_000 {
      var handshake = handshake(isLocal: random.next() % 4 != 0)
      var bytes = sample(&random)
      var buffer = ByteBuffer()
      while bytes.readableBytes > 0 {
        let count = Int.random(in: 1...bytes.readableBytes, using: &random)
        buffer.writeBytes(bytes.readBytes(length: count) ?? [])
        drive(&handshake, &buffer, verifier: verifier, &random)
      }
    }
  }

  private func sample(_ random: inout SplitMix) -> ByteBuffer {
    let options = ["endpoint=ep-a", "", "endpoint=ep-a exzo_lsn:0/1 -c \\", "endpoint=\\"]
    var bytes = startup(options.randomElement(using: &random) ?? "")
    bytes.writeMessage("p") { body in
      body.writeNullTerminated("SCRAM-SHA-256")
      body.writeInteger(Int32(11))
      body.writeString("n,,n=,r=abc")
    }
    bytes.writeMessage("p") { $0.writeString("c=biws,r=abcnonce,p=AAAA") }
    for _ in 0..<Int.random(in: 0...6, using: &random) {
      let index = Int.random(in: 0..<bytes.readableBytes, using: &random)
      bytes.setInteger(UInt8.random(in: 0 ... .max, using: &random), at: index)
    }
    return bytes
  }

  private func drive(
    _ handshake: inout ClientHandshake, _ buffer: inout ByteBuffer, verifier: String,
    _ random: inout SplitMix
  ) {
    for _ in 0..<100 {
      switch handshake.next(&buffer) {
      case .wait, .refuse, .authenticated, .cancel: return
      case .send, .refuseEncryption: break
      case .startTLS(let isDirect):
        handshake.encrypted(isDirect: isDirect, serverName: "a", applicationProtocol: "postgresql")
      case .lookUp:
        let known = RoleAuthentication(scramVerifier: verifier, endpointID: "ep-a")
        handshake.found(random.next() % 2 == 0 ? known : nil)
      case .checkPassword: handshake.passwordChecked(nil)
      }
    }
  }
}

/// A small seeded generator.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
