import Foundation
import ObjectStorage
import PostgresFormat

/// What a collector has seen and waits with before it acts, kept from one process to the next.
///
/// Losing it costs time only: everything is waited for again. It decides nothing that is not looked at anew.
public struct CollectorMemory: Sendable {
  /// Objects that no manifest lists, and since when that is known.
  var unlisted: [LineID: [ObjectKey: PostgresTimestamp]]
  /// Dropped keyframes that their line's writer has forgotten, and since when that is known.
  var forgotten: [LineID: [ObjectNumber: PostgresTimestamp]]
  /// What is known of the machine's clock; of whoever calls the collector, which does not look at it.
  public var clock = ClockWatch()

  init(
    unlisted: [LineID: [ObjectKey: PostgresTimestamp]],
    forgotten: [LineID: [ObjectNumber: PostgresTimestamp]]
  ) {
    self.unlisted = unlisted
    self.forgotten = forgotten
  }

  public init() { self.init(unlisted: [:], forgotten: [:]) }

  private struct Stored: Codable {
    struct Object: Codable {
      var key: String
      /// Microseconds since 2000-01-01 UTC, as PostgreSQL counts.
      var since: Int64
    }
    struct Keyframe: Codable {
      var epoch: UInt32
      var sequence: UInt64
      var since: Int64
    }
    var unlisted: [String: [Object]]
    var forgotten: [String: [Keyframe]]
    /// Earlier versions wrote none.
    var clock: ClockWatch?
  }

  /// - Throws: `DecodingError`.
  public init(json: Data) throws {
    let stored = try JSONDecoder().decode(Stored.self, from: json)
    self.init()
    clock = stored.clock ?? ClockWatch()
    for (line, objects) in stored.unlisted {
      for object in objects {
        unlisted[LineID(rawValue: line), default: [:]][ObjectKey(object.key)] =
          PostgresTimestamp(object.since)
      }
    }
    for (line, keyframes) in stored.forgotten {
      for keyframe in keyframes {
        let number = ObjectNumber(epoch: keyframe.epoch, sequence: keyframe.sequence)
        forgotten[LineID(rawValue: line), default: [:]][number] =
          PostgresTimestamp(keyframe.since)
      }
    }
  }

  public func json() throws -> Data {
    var stored = Stored(unlisted: [:], forgotten: [:], clock: clock)
    for (line, objects) in unlisted {
      stored.unlisted[line.rawValue] = objects.map {
        Stored.Object(key: $0.key.name, since: $0.value.rawValue)
      }
    }
    for (line, keyframes) in forgotten {
      stored.forgotten[line.rawValue] = keyframes.map {
        .init(epoch: $0.key.epoch, sequence: $0.key.sequence, since: $0.value.rawValue)
      }
    }
    return try JSONEncoder().encode(stored)
  }
}
