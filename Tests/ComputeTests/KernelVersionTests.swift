import Testing

@testable import Compute

@Suite struct KernelVersionTests {
  @Test func releasesAreReadAsFarAsTheyTell() {
    #expect(KernelVersion(release: "6.18.44") == KernelVersion(6, 18))
    #expect(KernelVersion(release: "6.1.0-25-amd64") == KernelVersion(6, 1))
    #expect(KernelVersion(release: "7.0-rc1") == KernelVersion(7, 0))
    #expect(KernelVersion(release: "6") == nil)
    #expect(KernelVersion(release: "next.1") == nil)
    #expect(KernelVersion.running != nil)
  }

  @Test func laterIsGreaterByNumbers() {
    #expect(KernelVersion(6, 9) < KernelVersion(6, 16))
    #expect(KernelVersion(6, 16) < KernelVersion(7, 0))
    #expect(!(KernelVersion(6, 16) < KernelVersion(6, 16)))
  }
}
