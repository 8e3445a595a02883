import NIOCore
import Synchronization

/// When something last moved.
final class Movement: Sendable {
  private let last = Mutex(ContinuousClock.now)

  /// It moves.
  func note() { last.withLock { $0 = .now } }

  var time: ContinuousClock.Instant { last.withLock { $0 } }
}

/// Nothing moved for this long.
struct Standstill: Error {
  var time: Duration
}

/// Runs `body` for as long as it goes on: slow ways take their time, dead ones end soon.
/// - Throws: ``Standstill`` where `body` noted no movement for `stall`; what `body` throws.
func whileMoving<Value: Sendable>(
  _ stall: Duration, _ body: @escaping @Sendable (Movement) async throws -> Value
) async throws -> Value {
  let movement = Movement()
  return try await withThrowingTaskGroup(of: Value?.self) { group in
    group.addTask { try await body(movement) }
    group.addTask {
      while true {
        let end = movement.time + stall
        if end <= .now { return nil }
        try await Task.sleep(until: end, clock: .continuous)
      }
    }
    defer { group.cancelAll() }
    guard let first = try await group.next(), let value = first else {
      throw Standstill(time: stall)
    }
    return value
  }
}

/// A body that is handed over in pieces as the connection takes them, each of which is a movement.
struct PiecewiseBody: AsyncSequence, Sendable {
  typealias Element = ByteBuffer
  /// Small, so that slow connections show that they move.
  static let pieceSize = 64 << 10

  let bytes: [UInt8]
  let movement: Movement

  struct Iterator: AsyncIteratorProtocol {
    fileprivate var rest: ArraySlice<UInt8>
    fileprivate let movement: Movement

    mutating func next() async throws -> ByteBuffer? {
      movement.note()
      if rest.isEmpty { return nil }
      let piece = rest.prefix(PiecewiseBody.pieceSize)
      rest = rest.dropFirst(piece.count)
      return ByteBuffer(bytes: piece)
    }
  }

  func makeAsyncIterator() -> Iterator { Iterator(rest: bytes[...], movement: movement) }
}
