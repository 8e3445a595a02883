import Glibc

/// An address as 128 bits; IPv4 in its mapped form `::ffff:a.b.c.d`, also where it comes in another
/// (`64:ff9b::/96`, RFC 6052).
public struct NetworkAddress: Hashable, Comparable, Sendable {
  private var high: UInt64
  private var low: UInt64

  public init?(_ text: String) {
    var four = in_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
      (high, low) = (0, 0xffff_0000_0000 | UInt64(UInt32(bigEndian: four.s_addr)))
      return
    }
    // A zone ('%eth0') belongs to link-local addresses.
    let plain = text.split(separator: "%", omittingEmptySubsequences: false).first.map(String.init)
    var bytes = [UInt8](repeating: 0, count: 16)
    guard let plain, inet_pton(AF_INET6, plain, &bytes) == 1 else { return nil }
    high = bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
    low = bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    if high == 0x0064_ff9b_0000_0000, low >> 32 == 0 { (high, low) = (0, 0xffff_0000_0000 | low) }
  }

  public var isIPv4: Bool { high == 0 && low >> 32 == 0xffff }

  public static func < (a: NetworkAddress, b: NetworkAddress) -> Bool {
    (a.high, a.low) < (b.high, b.low)
  }

  /// All addresses that `ADDRESS/BITS` names; `nil` where it is none.
  public static func block(_ text: String) -> ClosedRange<NetworkAddress>? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let base = NetworkAddress(String(parts[0])), let bits = Int(parts[1])
    else { return nil }
    let width = base.isIPv4 ? 32 : 128
    guard (0...width).contains(bits) else { return nil }
    let kept = bits + 128 - width
    let highMask = kept >= 64 ? 0 : UInt64.max >> UInt64(kept)
    let lowMask = kept <= 64 ? UInt64.max : kept >= 128 ? 0 : UInt64.max >> UInt64(kept - 64)
    var (first, last) = (base, base)
    first.high &= ~highMask
    first.low &= ~lowMask
    last.high |= highMask
    last.low |= lowMask
    return first...last
  }
}
