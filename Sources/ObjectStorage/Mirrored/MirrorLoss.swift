/// Tells a first store that somebody emptied from one whose objects come and go.
///
/// ## Purpose
/// Nothing is deleted from the copy because the first store was emptied. Changes of the catalog and small chunks live
/// for minutes, and what a busy day of them leaves in the copy may outweigh all that stays: how much of the copy is gone
/// from the first store tells nothing.
///
/// ## State and invariants
/// 1. What both stores hold when a pass begins is what both held when the last one ended, less what the first has lost
///    since: nothing new is copied yet. Where that is less than a quarter, by bytes, of the most that both held within
///    the time that deletions wait, it was emptied, at once or little by little. (Half goes at once where the layers of
///    a large database have been merged, and the window leaves the former ones behind.)
/// 2. From then on nothing is deleted, however much is new in the first store: until most of what it lost is back, or
///    ``accept()`` says that the first store is right.
///
/// Where nothing is known of a pass before, all of the copy counts as what both held: all of it lay in the first store
/// once. The first store's size then tells nothing, since it may have been emptied already.
struct MirrorLoss: Sendable, Equatable {
  /// Bytes that both held at the end of a pass that found nothing wrong; `nil` before it. It falls once in the time
  /// that deletions wait.
  private(set) var heldBytes: UInt64?
  /// When ``heldBytes`` was last reached or set, in seconds since 1970; `nil` where that is not known.
  private(set) var heldAt: Double?
  /// Seconds since 1970 when a loss was found that nobody has accepted; `nil` where there is none.
  private(set) var foundAt: Double?

  init(heldBytes: UInt64? = nil, heldAt: Double? = nil, foundAt: Double? = nil) {
    self.heldBytes = heldBytes
    self.heldAt = heldAt
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
      (heldBytes, heldAt, foundAt) = (held, heldAt ?? time, time)
    }
  }

  /// Notes what both hold at a pass's end.
  /// - Parameter delay: seconds for which what is gone from the first store stays in the copy.
  mutating func note(heldBytes now: UInt64, at time: Double, delay: Double) {
    guard foundAt == nil else { return }
    if let most = heldBytes, now < most {
      let since = heldAt ?? time
      heldAt = since
      guard time - since >= delay else { return }
    }
    (heldBytes, heldAt) = (now, time)
  }

  /// The first store is right: the copy may lose what is gone from it.
  mutating func accept() {
    guard foundAt != nil else { return }
    (heldBytes, heldAt, foundAt) = (0, nil, nil)
  }
}
