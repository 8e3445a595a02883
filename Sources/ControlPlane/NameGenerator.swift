import Catalog

/// Makes ids that people can tell apart and say aloud: two words and eight characters.
struct NameGenerator: Sendable {
  let random: Randomness

  private static let adjectives = [
    "amber", "brave", "bright", "brisk", "calm", "clear", "clever", "cool", "crisp", "curious",
    "dawn", "deep", "eager", "early", "fair", "fleet", "fresh", "gentle", "glad", "golden", "grand",
    "green", "hidden", "honest", "humble", "icy", "jolly", "keen", "kind", "late", "lively", "lone",
    "lucky", "mellow", "mild", "misty", "modest", "neat", "noble", "odd", "old", "pale", "patient",
    "plain", "polite", "proud", "quick", "quiet", "rapid", "rare", "royal", "rusty", "shy",
    "silent",
    "silver", "sleek", "small", "smooth", "snowy", "soft", "solid", "spring", "steady", "still",
    "sunny", "swift", "tall", "tidy", "tiny", "vast", "warm", "wild", "wise", "young",
  ]
  private static let nouns = [
    "acorn", "anchor", "apple", "arrow", "aspen", "basin", "beach", "birch", "bird", "bloom",
    "boat",
    "breeze", "bridge", "brook", "canyon", "cedar", "cliff", "cloud", "coast", "comet", "coral",
    "creek", "delta", "dune", "eagle", "ember", "falcon", "fern", "field", "fjord", "flame",
    "forest",
    "fox", "garden", "glade", "grove", "harbor", "hawk", "heron", "hill", "island", "lake",
    "lantern",
    "leaf", "maple", "marsh", "meadow", "moon", "moss", "oak", "ocean", "orchard", "otter", "owl",
    "pebble", "pine", "planet", "pond", "rain", "reef", "ridge", "river", "rose", "sail", "seal",
    "shore", "sky", "snow", "sparrow", "star", "stone", "stream", "thunder", "tide", "valley",
    "wave",
    "willow", "wind", "wren",
  ]
  private static let digits = Array("0123456789")
  private static let lowercase = Array("abcdefghijklmnopqrstuvwxyz0123456789")

  private func words() -> String {
    func pick(_ list: [String]) -> String {
      let value = random.bytes(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
      return list[Int(value % UInt32(list.count))]
    }
    return "\(pick(Self.adjectives))-\(pick(Self.nouns))"
  }

  /// `word-word-12345678`.
  func project() -> ProjectID { ProjectID("\(words())-\(random.text(8, from: Self.digits))") }
  /// `br-word-word-xxxxxxxx`.
  func branch() -> BranchID { BranchID("br-\(words())-\(random.text(8, from: Self.lowercase))") }
  /// `ep-word-word-xxxxxxxx`.
  func endpoint() -> EndpointID {
    EndpointID("ep-\(words())-\(random.text(8, from: Self.lowercase))")
  }
  /// `compute-xxxxxxxxxxxxxxxx`.
  func compute() -> ComputeID { ComputeID("compute-\(random.text(16, from: Self.lowercase))") }
  /// `ln-xxxxxxxxxxxxxxxx`.
  func line() -> CatalogLineID { CatalogLineID("ln-\(random.text(16, from: Self.lowercase))") }
  func operation() -> OperationID { OperationID(random.uuid()) }
  /// `snap-word-word-xxxxxxxx`.
  func snapshot() -> SnapshotID {
    SnapshotID("snap-\(words())-\(random.text(8, from: Self.lowercase))")
  }
  /// `dump-word-word-xxxxxxxx`.
  func dump() -> DumpID { DumpID("dump-\(words())-\(random.text(8, from: Self.lowercase))") }
  func scheduleItem() -> ScheduleItemID {
    ScheduleItemID("sched-\(random.text(16, from: Self.lowercase))")
  }
  /// `rd-xxxxxxxxxxxxxxxx`: a compute that reads the past.
  func reading() -> String { "rd-\(random.text(16, from: Self.lowercase))" }
  func drill() -> String { "drill-\(random.text(16, from: Self.lowercase))" }
  func verification() -> String { "verify-\(random.text(16, from: Self.lowercase))" }
  func alert() -> String { "alert-\(random.text(16, from: Self.lowercase))" }
  func lease() -> String { "lease-\(random.text(16, from: Self.lowercase))" }
  /// 24 letters and digits: 142 bits.
  func password() -> String { random.text(24) }
}
