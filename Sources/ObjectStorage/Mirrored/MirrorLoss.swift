/// Tells a first store that somebody emptied from one whose objects come and go.
///
/// ## Purpose
/// Nothing is deleted from the copy because the first store was emptied. Changes of the catalog and small chunks live
/// for minutes, and what a busy day of them leaves in the copy may outweigh all that stays: how much of the copy is gone
/// from the first store tells nothing.
///
/// ## State and invariants
/// 1. What both stores hold when a pass begins is what both held when the last one ended, less what the first has lost
///    since: nothing new is copied yet. Where that is less than a quarter, by bytes, it was emptied. (Half goes at
///    once where the layers of a large database have been merged, and the window leaves the former ones behind.)
/// 2. From then on nothing is deleted, however much is new in the first store: until most of what it lost is back, or
///    ``accept()`` says that the first store is right.
///
/// Where nothing is known of the last pass, all of the copy counts as what both held.
struct MirrorLoss: Sendable, Equatable {
  /// Bytes that both held at the end of the last pass that found nothing wrong; `nil` before it.
  private(set) var heldBytes: UInt64?
  /// Seconds since 1970 when a loss was found that nobody has accepted; `nil` where there is none.
  private(set) var foundAt: Double?

  init(heldBytes: UInt64? = nil, foundAt: Double? = nil) {
    self.heldBytes = heldBytes
    self.foundAt = foundAt
  }

  /// Looks at both stores as a pass finds them.
  /// - Parameters:
  ///   - common: bytes of the copy's objects that the first store has.
  ///   - gone: bytes of those that it does not have.
  mutating func judge(common: UInt64, gone: UInt64, at time: Double) {
    let held = heldBytes ?? (common + gone)
    let isGone = gone > held / 2
    if foundAt != nil {
      if !isGone { foundAt = nil }
    } else if isGone, common < held / 4 {
      (heldBytes, foundAt) = (held, time)
    }
  }

  /// Notes what both hold at a pass's end.
  mutating func note(heldBytes: UInt64) {
    if foundAt == nil { self.heldBytes = heldBytes }
  }

  /// The first store is right: the copy may lose what is gone from it.
  mutating func accept() {
    guard foundAt != nil else { return }
    (heldBytes, foundAt) = (0, nil)
  }
}
