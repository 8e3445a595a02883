import Testing

@testable import Console

@Suite struct FormatTests {
  @Test func sizesAreWrittenInPowersOfAThousand() {
    #expect(Format.bytes(0) == "0 B")
    #expect(Format.bytes(999) == "999 B")
    #expect(Format.bytes(1000) == "1.0 kB")
    #expect(Format.bytes(999_600) == "1.0 MB")
    #expect(Format.bytes(12_345_678) == "12 MB")
  }

  @Test func durationsAreWrittenInWords() {
    #expect(Format.duration(seconds: 45) == "45 s")
    #expect(Format.duration(seconds: 3_720) == "1 h 2 min")
    #expect(Format.duration(seconds: 86_400) == "1 day")
    #expect(Format.duration(seconds: 604_800) == "7 days")
    #expect(Format.duration(seconds: 90_000) == "1 d 1 h")
  }

  @Test func numbersHaveTheirGroups() {
    #expect(Format.number(1_234_567) == "1,234,567")
    #expect(Format.number(-1_000) == "-1,000")
    #expect(Format.number(12) == "12")
  }

  @Test func onlyPathsOfThisServerAreGoneBackTo() {
    #expect(Console.localPath("/projects/a?b=c") == "/projects/a?b=c")
    for text in [
      "//evil.example", "https://evil.example", "/\\evil.example", "/signin", "", "/a\nb",
    ] {
      #expect(Console.localPath(text) == "/projects", "\(text)")
    }
  }

  @Test func onlyNamesOfOursAreAdmitted() {
    let settings = ConsoleSettings(hosts: ["console.example.org"])
    for host in ["localhost:8432", "127.0.0.1", "[::1]:8432", "Console.Example.ORG"] {
      #expect(settings.admits(host: host), "\(host)")
    }
    for host in ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io:8432"] {
      #expect(!settings.admits(host: host), "\(host)")
    }
  }
}
