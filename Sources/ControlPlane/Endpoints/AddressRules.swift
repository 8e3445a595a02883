import APITypes
import Foundation
import PostgresClient

/// Addresses from which a project's endpoints may be reached: single ones, CIDR blocks and ranges,
/// IPv4 and IPv6.
public struct AddressRules: Sendable, Hashable {
  private let ranges: [ClosedRange<NetworkAddress>]

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
    guard let address = NetworkAddress(address) else { return false }
    return ranges.contains { $0.contains(address) }
  }

  private static func range(_ text: String) -> ClosedRange<NetworkAddress>? {
    if text.contains("/") { return NetworkAddress.block(text) }
    if let dash = text.firstIndex(of: "-") {
      guard let first = NetworkAddress(String(text[..<dash])),
        let last = NetworkAddress(String(text[text.index(after: dash)...])),
        first.isIPv4 == last.isIPv4, first <= last
      else { return nil }
      return first...last
    }
    return NetworkAddress(text).map { $0...$0 }
  }
}
