import Testing

@testable import Compute

/// Text indexes of a server elsewhere are in the order of its C library.
@Suite struct SourceCollationsTests {
  @Test func databasesThatAnotherVersionSortedAreNamedWithTheWayOut() throws {
    let versions = [
      (database: "app", version: "2.31"), (database: "same", version: "2.36"),
      (database: "other", version: "2.31"),
    ]
    let notes = SourceCollations(versions: versions).notes(local: "2.36")
    #expect(notes.count == 1)
    let note = try #require(notes.first)
    for part in ["'app', 'other'", "2.31", "2.36", "REINDEX DATABASE", "REFRESH COLLATION VERSION"]
    {
      #expect(note.contains(part), "\(note)")
    }
    #expect(!note.contains("same"))
    #expect(SourceCollations(versions: [versions[1]]).notes(local: "2.36") == [])
    #expect(SourceCollations(versions: []).notes(local: "2.36") == [])
  }

  @Test func thisMachinesVersionIsANumber() throws {
    let version = try #require(SourceCollations.localVersion())
    #expect(version.split(separator: ".").allSatisfy { Int($0) != nil }, "\(version)")
    #expect(version.hasPrefix("2."), "\(version)")
  }
}
