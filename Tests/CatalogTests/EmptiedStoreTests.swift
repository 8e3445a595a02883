import ObjectStorage
import TestSupport
import Testing

@testable import Catalog

/// A store that is not mounted looks like an empty one, and would be taken for one's own.
@Suite struct EmptiedStoreTests {
  @Test func aStoreThatIsEmptyAndWasNotIsRefused() async throws {
    try await withTemporaryDirectory { directory in
      let full = MemoryObjectStore()
      let own = StoreOwnership(store: full, recordPath: "\(directory)/own")
      let first = try await own.claim(as: JournalSetup.notice, url: "u", takesOver: false)
      let unmounted = StoreOwnership(
        store: MemoryObjectStore(), recordPath: "\(directory)/own")
      let error = await #expect(throws: CatalogError.self) {
        _ = try await unmounted.claim(as: JournalSetup.notice, url: "u", takesOver: false)
      }
      #expect("\(try #require(error))".contains("it is empty, and was not when it was used last"))
      // The right one again: nothing has been lost by the attempt.
      let second = try await own.claim(as: JournalSetup.notice, url: "u", takesOver: false)
      #expect(second > first)
    }
  }
}
