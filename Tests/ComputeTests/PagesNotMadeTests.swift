import History
import Testing

@testable import Compute

@Suite struct PagesNotMadeTests {
  private let damage = ComputeError(.damagedHistory, "make page 1663/5/16384 block 3: a bad record")

  @Test func aFewAreCountedAndTheFirstIsNamed() throws {
    var pages = PagesNotMade()
    #expect(pages.alarm == nil)
    for _ in 1...PagesNotMade.limit { try pages.note(damage) }
    #expect(pages.count == PagesNotMade.limit)
    #expect(pages.alarm?.contains("64 pages cannot be made") == true)
    #expect(pages.alarm?.contains("1663/5/16384 block 3") == true)
    #expect(throws: ComputeError.self) { try pages.note(damage) }
  }

  @Test func aFullDiskIsTold() {
    var pages = PagesNotMade()
    pages.waitsForRoom = true
    #expect(pages.alarm?.contains("2 GiB") == true)
  }

  /// What is tried again as a whole says nothing of single pages.
  @Test func onlyDamageIsPassedOver() {
    #expect(PagesNotMade.isOfHistory(damage))
    #expect(!PagesNotMade.isOfHistory(ComputeError(.environment, "a worker was lost")))
  }
}
