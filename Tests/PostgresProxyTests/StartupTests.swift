import NIOCore
import Testing

@testable import PostgresProxy

@Suite struct StartupTests {
  @Test func optionsLoseOnlyWhatIsForTheProxy() throws {
    func check(_ text: String, endpoint: String?, forwarded: String?) throws {
      let options = try StartupOptions(text)
      #expect(options.endpoint == endpoint, "\(text)")
      #expect(options.forwarded == forwarded, "\(text)")
    }
    try check("", endpoint: nil, forwarded: nil)
    try check("endpoint=ep-a-b-1", endpoint: "ep-a-b-1", forwarded: nil)
    try check("-c endpoint=ep-a-b-1 -c a=1", endpoint: "ep-a-b-1", forwarded: "-c a=1")
    try check("-cendpoint=ep-a --x=2", endpoint: "ep-a", forwarded: "--x=2")
    try check("--endpoint=ep-a -e", endpoint: "ep-a", forwarded: "-e")
    try check(
      "-c  search_path=a\\ b\tendpoint=ep-a", endpoint: "ep-a", forwarded: "-c search_path=a\\ b")
    try check("endpoint=ep-a endpoint=ep-a", endpoint: "ep-a", forwarded: nil)
    try check("-c", endpoint: nil, forwarded: "-c")
    try check("a\\", endpoint: nil, forwarded: "a\\")
  }

  @Test func momentsAreReadInEverySpelling() throws {
    for name in ["exzo_lsn:", "neon_lsn:", "exzo_lsn=", "-c neon_lsn:"] {
      #expect(try StartupOptions("\(name)0/1A2B").moment == .lsn("0/1A2B"))
    }
    let time = try StartupOptions("neon_timestamp:2026-11-23T10:00:00Z")
    #expect(time.moment == .timestamp("2026-11-23T10:00:00Z"))
    let spaced = try StartupOptions("exzo_timestamp:2026-11-23\\ 10:00")
    #expect(spaced.moment == .timestamp("2026-11-23 10:00"))
  }

  @Test func contradictionsAreRefused() {
    #expect(throws: ProxyRefusal.self) { try StartupOptions("endpoint=ep-a endpoint=ep-b") }
    #expect(throws: ProxyRefusal.self) { try StartupOptions("exzo_lsn:0/1 exzo_timestamp:now") }
  }

  @Test func targetsAreReadFromLabelsAndServerNames() {
    #expect(ProxyTarget(label: "EP-a-b-1") == ProxyTarget(name: .endpoint("ep-a-b-1")))
    #expect(
      ProxyTarget(label: "ep-a-pooler") == ProxyTarget(name: .endpoint("ep-a"), isPooled: true))
    for bad in ["", "ep-", "ep--pooler".replacing("--", with: "-"), "xp-a", "ep-a_b", "ep-ä"] {
      #expect(ProxyTarget(label: bad) == nil, "\(bad)")
    }
    #expect(ProxyTarget(label: "ep-" + String(repeating: "a", count: 61)) == nil)
    func name(_ text: String, _ domain: String? = "db.example.com") -> String? {
      ProxyTarget(serverName: text, domain: domain)?.id
    }
    #expect(name("ep-a.db.example.com") == "ep-a")
    #expect(name("EP-a.DB.example.com.") == "ep-a")
    #expect(name("ep-a.example.com") == nil)
    #expect(name("db.example.com") == nil)
    #expect(name("ep-a.db.example.com", nil) == nil)
  }

  @Test func packetOfAnIllegalLengthIsRefusedAtOnce() {
    for length in [Int32(0), 7, -1, .min, 10_001, .max] {
      var buffer = ByteBuffer(integer: length)
      #expect(throws: ProxyRefusal.self) { try StartupPacket.read(from: &buffer) }
    }
  }

  @Test func packetIsReadWhenItsLastByteIsThere() throws {
    var whole = ByteBuffer()
    whole.writeStartup([.init(name: "user", value: "app"), .init(name: "options", value: "")])
    let bytes = Array(whole.readableBytesView)
    for count in 0..<bytes.count {
      var part = ByteBuffer(bytes: bytes[..<count])
      #expect(try StartupPacket.read(from: &part) == nil)
      #expect(part.readableBytes == count)
    }
    var all = ByteBuffer(bytes: bytes + [42])
    guard case .startup(let request)? = try StartupPacket.read(from: &all) else {
      Issue.record("no startup request")
      return
    }
    #expect(request["user"] == "app")
    #expect(all.readableBytes == 1)
  }

  @Test func sessionKindsAreTold() {
    var target = ProxyTarget(name: .endpoint("ep-a-b-12345678"))
    func kind(_ name: String, _ value: String) -> SessionKind {
      SessionKind(parameters: [.init(name: name, value: value)], target: target)
    }
    #expect(kind("replication", "database") == .replication)
    #expect(kind("replication", "true") == .replication)
    #expect(kind("replication", "off") == .query)
    #expect(kind("application_name", "pg_dump") == .dump)
    #expect(kind("application_name", "pg_restore") == .restore)
    #expect(kind("application_name", "psql") == .query)
    target.isPooled = true
    #expect(kind("application_name", "psql") == .pooled)
    #expect(kind("application_name", "pg_dump") == .dump)
    target.moment = .lsn("0/1")
    #expect(kind("application_name", "psql") == .timeTravel)
  }

  @Test func tailSeesWhereAServerWaits() {
    func tail(_ chunks: [[UInt8]]) -> MessageTail {
      chunks.reduce(into: MessageTail()) { $0.append(ByteBuffer(bytes: $1)) }
    }
    let ready: [UInt8] = [0x5A, 0, 0, 0, 5, UInt8(ascii: "I")]
    #expect(tail([ready]).isIdle)
    #expect(tail([[1, 2, 3, 4, 5] + ready]).isIdle)
    #expect(tail([[1, 2, 3, 4, 5, 0x5A, 0], [0, 0], [5, UInt8(ascii: "T")]]).isAtBoundary)
    #expect(!tail([[0x5A, 0, 0, 0, 5, UInt8(ascii: "T")]]).isIdle)
    #expect(!tail([ready, [1]]).isAtBoundary)
    #expect(!tail([]).isAtBoundary)
  }
}
