import Foundation
import History
import PageRedo
import PostgresFormat

/// What an opening decided; kept, so that one that died is begun anew with the same line.
struct OpeningPlan: Codable, Sendable {
  var lsn: LSN
  var redoLSN: LSN
  var timeline: TimelineID
  var systemIdentifier: UInt64
  var segmentSize: UInt64
  /// Pages are made when they are read; otherwise the server replays the tail.
  var isLazy: Bool
}

/// Why a moment is opened by replay.
enum ReplayReason: Sendable, Equatable {
  /// There is so little WAL that replay is the shorter way; nothing to complain about.
  case shortTail
  /// The specification says so.
  case askedFor
  case fallback(String)

  var name: String {
    switch self {
    case .shortTail: "short_tail"
    case .askedFor: "asked_for"
    case .fallback(let name): name
    }
  }
}

extension Moment {
  /// A tail of at most this many bytes is replayed where the keyframe is complete.
  static let shortTail: UInt64 = 128 << 10
  /// A lazily opened line's base may have this many layers: its own go on top.
  static let layersForChildren = 20

  /// What stands against opening the moment without replay, as far as is known before its tail is read.
  func replayReason(
    _ history: LineHistory, major: PostgresMajor, wanted: OpeningWay?
  ) async -> ReplayReason? {
    if wanted == .replay { return .askedFor }
    if wanted == nil, keyframe.isComplete && tailBytes <= Moment.shortTail { return .shortTail }
    if keyframe.layers.count > Moment.layersForChildren { return .fallback("too_many_layers") }
    let complete = keyframe.groups.first?.redoLSN ?? keyframe.redoLSN
    if await history.lastHardRecord(from: complete, to: keyframe.redoLSN) != nil {
      return .fallback("hard_record_before_keyframe")
    }
    do {
      _ = try LazyPages.library(major)
    } catch {
      return .fallback(error.code.rawValue)
    }
    return nil
  }
}
