import APITypes
import Foundation

/// Addresses from which a project's endpoints may be reached: single ones, CIDR blocks and ranges,
/// IPv4 and IPv6.
public struct AddressRules: Sendable, Hashable {
  private let ranges: [ClosedRange<Address>]

  /// - Throws: ``ControlPlaneError`` naming the entry that is none of these.
  init(_ entries: [String]) throws {
    ranges = try entries.enumerated().map { index, entry in
      guard let range = Self.range(entry.trimmingCharacters(in: .whitespaces)) else {
        throw ControlPlaneError.value(
          "project.settings.allowed_ips.ips[\(index)]", entry,
          allowed: "an address, ADDRESS/BITS or FIRST-LAST")
      }
      return range
    }
  }

  /// Whether a client at `address` may connect; nobody may where there is no rule for it.
  public func allow(_ address: String) -> Bool {
    guard let address = Address(address) else { return false }
    return ranges.contains { $0.contains(address) }
  }

  private static func range(_ text: String) -> ClosedRange<Address>? {
    if let slash = text.firstIndex(of: "/") {
      let base = text[..<slash]
      guard let address = Address(String(base)), let bits = Int(text[text.index(after: slash)...]),
        (0...(address.isIPv4 ? 32 : 128)).contains(bits)
      else { return nil }
      return address.block(bits: bits + (address.isIPv4 ? 96 : 0))
    }
    if let dash = text.firstIndex(of: "-") {
      guard let first = Address(String(text[..<dash])),
        let last = Address(String(text[text.index(after: dash)...])),
        first.isIPv4 == last.isIPv4, first <= last
      else { return nil }
      return first...last
    }
    return Address(text).map { $0...$0 }
  }

  /// An address as 128 bits; IPv4 in its mapped form `::ffff:a.b.c.d`.
  private struct Address: Comparable, Hashable {
    var high: UInt64
    var low: UInt64

    init?(_ text: String) {
      var four = in_addr()
      if inet_pton(AF_INET, text, &four) == 1 {
        high = 0
        low = 0xffff_0000_0000 | UInt64(UInt32(bigEndian: four.s_addr))
        return
      }
      var bytes = [UInt8](repeating: 0, count: 16)
      guard inet_pton(AF_INET6, text, &bytes) == 1 else { return nil }
      high = bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
      low = bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    var isIPv4: Bool { high == 0 && low >> 32 == 0xffff }

    /// All addresses that agree with this one in its first `bits` bits.
    func block(bits: Int) -> ClosedRange<Address> {
      let highMask = bits >= 64 ? 0 : UInt64.max >> UInt64(bits)
      let lowMask = bits <= 64 ? UInt64.max : bits >= 128 ? 0 : UInt64.max >> UInt64(bits - 64)
      var (first, last) = (self, self)
      first.high &= ~highMask
      first.low &= ~lowMask
      last.high |= highMask
      last.low |= lowMask
      return first...last
    }

    static func < (a: Address, b: Address) -> Bool { (a.high, a.low) < (b.high, b.low) }
  }
}
