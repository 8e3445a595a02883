import Foundation
import Synchronization

/// Time as the control plane sees it; tests bring their own.
public protocol WallClock: Sendable {
  var now: Date { get }
}

/// The machine's clock.
public struct SystemWallClock: WallClock {
  public init() {}
  public var now: Date { Date() }
}

/// Randomness for ids, passwords and keys, shared between tasks; tests bring a seeded source.
public final class Randomness: Sendable {
  private let source: Mutex<any RandomNumberGenerator & Sendable>

  public init(_ source: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()) {
    self.source = Mutex(source)
  }

  public func bytes(_ count: Int) -> [UInt8] {
    source.withLock { source in (0..<count).map { _ in UInt8.random(in: 0...255, using: &source) } }
  }

  /// `count` characters of `alphabet`, each equally likely.
  public func text(_ count: Int, from alphabet: [Character] = Array(Randomness.letters)) -> String {
    source.withLock { source in
      String((0..<count).map { _ in alphabet[Int.random(in: alphabet.indices, using: &source)] })
    }
  }

  /// A random UUID (RFC 9562, version 4), lower case.
  public func uuid() -> String {
    var bytes = bytes(16)
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return [(0, 8), (8, 4), (12, 4), (16, 4), (20, 12)].map { start, count in
      String(hex.dropFirst(start).prefix(count))
    }.joined(separator: "-")
  }

  /// 62 characters: 5.95 bits each.
  public static let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
}
