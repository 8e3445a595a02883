import Glibc
import PostgresFormat

/// An estimate of how many distinct blocks were touched, which two chunks can add up.
///
/// HyperLogLog with 256 registers: within about 7 %. Source: Flajolet et al., "HyperLogLog", 2007.
public struct DistinctSketch: Hashable, Sendable {
  private(set) var registers = [UInt8](repeating: 0, count: DistinctSketch.registerCount)
  static let registerCount = 256

  public init() {}

  init(registers: [UInt8]) {
    precondition(registers.count == DistinctSketch.registerCount)
    self.registers = registers
  }

  mutating func insert(_ locator: RelFileLocator, fork: UInt8, block: UInt32) {
    var hash = UInt64(locator.relation) << 32 | UInt64(block)
    hash = DistinctSketch.mixed(hash ^ UInt64(locator.database) &* 0x9E37_79B9_7F4A_7C15)
    hash = DistinctSketch.mixed(hash ^ UInt64(locator.tablespace) << 8 ^ UInt64(fork))
    let register = Int(hash & 255)
    let rank = UInt8((hash >> 8 | 1 << 56).trailingZeroBitCount + 1)
    if registers[register] < rank { registers[register] = rank }
  }

  mutating func formUnion(_ other: DistinctSketch) {
    for index in registers.indices {
      registers[index] = max(registers[index], other.registers[index])
    }
  }

  /// The estimated number of distinct blocks.
  public var estimate: Double {
    let count = Double(DistinctSketch.registerCount)
    var sum = 0.0
    var empty = 0.0
    for register in registers {
      sum += 1 / Double(UInt64(1) << UInt64(min(register, 63)))
      if register == 0 { empty += 1 }
    }
    let raw = 0.7213 / (1 + 1.079 / count) * count * count / sum
    if raw <= 2.5 * count, empty > 0 { return count * log(count / empty) }
    return raw
  }

  /// splitmix64's finisher.
  private static func mixed(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
