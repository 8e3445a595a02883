/// The checksum of a relation's page, as data checksums store it.
///
/// Source: `pg_checksum_page` in `storage/checksum_impl.h`: 32 interleaved FNV-1a sums over the
/// page's
/// words, the stored checksum taken as zero, folded, mixed with the block number.
public enum DataChecksum {
  /// Sums kept side by side: a quarter of the 32, which is what registers hold.
  private typealias Sums = SIMD8<UInt32>

  /// Bytes of one word for each of the 32 sums.
  private static let rowLength = 128

  /// The checksum that the page should carry.
  ///
  /// - Parameters:
  ///   - page: exactly 8192 bytes.
  ///   - block: the block's number in its fork, counted over all segments.
  public static func compute(_ page: UnsafeRawBufferPointer, block: UInt32) -> UInt16 {
    precondition(page.count == PostgresLayout.blockSize, "page of \(page.count) bytes")
    let base = page.baseAddress!
    // The page's own checksum, the lower half of its third word, counts as zero.
    let stored = base.u32(8) & 0xFFFF
    var ownChecksum = Sums.zero
    ownChecksum[2] = stored
    let folded =
      column(base, initial0, without: ownChecksum) ^ column(base + 32, initial1, without: .zero)
      ^ column(base + 64, initial2, without: .zero) ^ column(base + 96, initial3, without: .zero)
    return UInt16((folded ^ block) % 65_535 + 1)
  }

  /// What a page's bytes say about themselves.
  public enum Verdict: Hashable, Sendable {
    case valid
    /// All zeros: a page that was never used, which carries no checksum.
    case unused
    case mismatch(stored: UInt16, computed: UInt16)
    /// Not initialised, yet not all zeros.
    case malformed
  }

  /// Judges a page as `pg_checksums` does, and unused pages as the server does (they must be
  /// zeros).
  ///
  /// - Parameters: as for ``compute(_:block:)``.
  public static func verify(_ page: UnsafeRawBufferPointer, block: UInt32) -> Verdict {
    precondition(page.count == PostgresLayout.blockSize, "page of \(page.count) bytes")
    let base = page.baseAddress!
    if base.u16(14) == 0 { return isZero(page) ? .unused : .malformed }
    let stored = base.u16(8)
    let computed = compute(page, block: block)
    return stored == computed ? .valid : .mismatch(stored: stored, computed: computed)
  }

  /// Writes the right checksum into a page.
  public static func store(in page: UnsafeMutableRawBufferPointer, block: UInt32) {
    let sum = compute(UnsafeRawBufferPointer(page), block: block)
    page.storeBytes(of: sum.littleEndian, toByteOffset: 8, as: UInt16.self)
  }

  private static func isZero(_ page: UnsafeRawBufferPointer) -> Bool {
    var offset = 0
    while offset < page.count {
      if page.loadUnaligned(fromByteOffset: offset, as: UInt64.self) != 0 { return false }
      offset += 8
    }
    return true
  }

  /// Sums eight neighbouring words of every row of the page and folds the eight sums.
  @inline(__always)
  private static func column(
    _ base: UnsafeRawPointer, _ initial: Sums, without firstBits: Sums
  ) -> UInt32 {
    var sums = initial
    mix(&sums, base.loadUnaligned(as: Sums.self) ^ firstBits)
    var offset = rowLength
    while offset < PostgresLayout.blockSize {
      mix(&sums, base.loadUnaligned(fromByteOffset: offset, as: Sums.self))
      offset += rowLength
    }
    mix(&sums, .zero)
    mix(&sums, .zero)
    let half = sums.lowHalf ^ sums.highHalf
    let quarter = half.lowHalf ^ half.highHalf
    return quarter.x ^ quarter.y
  }

  @inline(__always)
  private static func mix(_ sums: inout Sums, _ value: Sums) {
    let mixed = sums ^ value
    sums = (mixed &* Sums(repeating: 16_777_619)) ^ (mixed &>> Sums(repeating: 17))
  }

  private static let initial0 = Sums(
    0x5B1F_36E9, 0xB852_5960, 0x02AB_50AA, 0x1DE6_6D2A, 0x79FF_467A, 0x9BB9_F8A3, 0x217E_7CD2,
    0x83E1_3D2C)
  private static let initial1 = Sums(
    0xF8D4_474F, 0xE39E_B970, 0x42C6_AE16, 0x9932_16FA, 0x7B09_3B5D, 0x98DA_FF3C, 0xF718_902A,
    0x0B1C_9CDB)
  private static let initial2 = Sums(
    0xE58F_764B, 0x1876_36BC, 0x5D7B_3BB1, 0xE73D_E7DE, 0x92BE_C979, 0xCCA6_C0B2, 0x304A_0979,
    0x85AA_43D4)
  private static let initial3 = Sums(
    0x7831_25BB, 0x6CA8_EAA2, 0xE407_EAC6, 0x4B5C_FC3E, 0x9FBF_8C76, 0x15CA_20BE, 0xF2CA_9FD3,
    0x959B_D756)
}
