/// A small repeatable generator (SplitMix64): the same seed gives the same run.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }

  /// A uniform choice from `range`.
  public mutating func pick(_ range: ClosedRange<Int>) -> Int {
    Int.random(in: range, using: &self)
  }

  /// True once in `count` on average.
  public mutating func oneIn(_ count: Int) -> Bool { pick(1...count) == 1 }

  /// A number from 0 to below `bound`.
  public mutating func below(_ bound: Int) -> Int { Int(next(upperBound: UInt64(bound))) }
}
