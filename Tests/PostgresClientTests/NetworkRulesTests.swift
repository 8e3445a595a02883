import Testing

@testable import PostgresClient

@Suite struct NetworkRulesTests {
  @Test(arguments: [
    "127.0.0.1", "127.255.0.3", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::",
    "::1", "fe80::1", "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "nonsense", "", "/tmp",
  ])
  func thisMachineAndItsNeighboursAreClosed(_ address: String) throws {
    #expect(try !NetworkRules().allows(address: address))
  }

  @Test(arguments: ["192.0.2.1", "10.0.0.5", "2001:db8::1", "::ffff:192.0.2.1", "128.0.0.1"])
  func othersAreOpen(_ address: String) throws {
    #expect(try NetworkRules().allows(address: address))
  }

  @Test func theOperatorOpensBlocks() throws {
    let rules = try NetworkRules(opened: ["127.0.0.8/29", "::1"])
    #expect(rules.allows(address: "127.0.0.8") && rules.allows(address: "127.0.0.15"))
    #expect(!rules.allows(address: "127.0.0.7") && !rules.allows(address: "127.0.0.16"))
    #expect(rules.allows(address: "::1") && !rules.allows(address: "::"))
    #expect(rules.allows(address: "::ffff:127.0.0.9"))
    #expect(rules.entries == ["127.0.0.8/29", "::1"])
  }

  @Test(arguments: ["127.0.0.1/33", "x", "127.0.0.1/", "::/129", "1/2/3", "10.0.0.0/-1"])
  func whatIsNoBlockIsRefused(_ entry: String) {
    #expect(throws: PostgresError.self) { try NetworkRules(opened: [entry]) }
  }

  @Test func namesAreLookedUpAndClosedOnesNamed() throws {
    #expect(throws: PostgresError.self) { try NetworkRules().address(of: "localhost") }
    let rules = try NetworkRules(opened: ["127.0.0.1", "::1"])
    #expect(["127.0.0.1", "::1"].contains(try rules.address(of: "localhost")))
    #expect(throws: PostgresError.self) { try rules.address(of: "/var/run/postgresql") }
    #expect(throws: PostgresError.self) { try rules.address(of: "nowhere.invalid") }
  }
}
